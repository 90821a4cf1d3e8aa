"""Every error as JSON in OpenAI's form; neither it nor the log repeats the request's text."""

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving.feedback.ratings import NotTakenDown
from serving.interface import account
from serving.interface.errors import (
    DeadlinePassed,
    Interrupted,
    NotReady,
    QueueFull,
    TooLong,
    UnknownModel,
    WorkerRefused,
)
from serving.interface.metrics import Metrics
from serving.interface.schemas import ErrorAnswer, ErrorKind
from serving.web.invalid_fields import first_problem
from serving.writing.templates import WrongParameters
from textmill.ground.errors import TextmillError

_log = logging.getLogger(__name__)
_RETRY_AFTER_S = 5  # about the time of one article
_OPENAI_PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/models")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of error: its status, its name, and OpenAI's type and code."""

    name: ErrorKind
    status: int
    openai_type: ErrorKind
    openai_code: str | None = None
    openai_status: int = 0  # 0: the same


KINDS = {
    kind.name: kind
    for kind in (
        Kind("invalid_request", 422, "invalid_request_error", openai_status=400),
        Kind("authentication_error", 401, "invalid_request_error", "invalid_api_key"),
        Kind("not_found", 404, "invalid_request_error", "model_not_found"),
        Kind("too_many_requests", 429, "rate_limit_error", "rate_limit_exceeded"),
        Kind("not_ready", 503, "not_ready"),
        Kind("deadline_passed", 504, "deadline_passed"),
        Kind("server_error", 500, "server_error"),
    )
}
_KIND_OF: dict[type[TextmillError], ErrorKind] = {
    TooLong: "invalid_request",
    WrongParameters: "invalid_request",
    WorkerRefused: "invalid_request",
    UnknownModel: "not_found",
    QueueFull: "too_many_requests",
    NotReady: "not_ready",
    Interrupted: "not_ready",
    NotTakenDown: "not_ready",
    DeadlinePassed: "deadline_passed",
}


def body(kind: str, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The JSON of an error, in the form of `ErrorAnswer`. It is not validated: reporting an error must not fail."""
    said = {"type": kind, "message": message, "param": param, "code": code}
    # what a request holds may be half a character, which no answer in UTF-8 can repeat
    return {"error": {name: each and each.encode(errors="replace").decode() for name, each in said.items()}}


def body_of(error: TextmillError) -> dict[str, Any]:
    """The JSON of an error in the middle of a stream."""
    kind = _KIND_OF.get(type(error), "server_error")
    return body("server_error" if kind == "not_ready" else kind, str(error), getattr(error, "param", None))


def answer(
    path: str,
    name: ErrorKind,
    message: str,
    param: str | None = None,
    retry_after_s: int = _RETRY_AFTER_S,
    status: int = 0,
) -> JSONResponse:
    """An error's response; on OpenAI's routes, with OpenAI's type and code.

    Args:
        path: the requested path.
        status: replaces the kind's own status.
    """
    kind = KINDS[name]
    shown: str = kind.name
    status, code = status or kind.status, None
    if path.startswith(_OPENAI_PATHS):
        shown, code = kind.openai_type, kind.openai_code
        status = kind.openai_status if kind.openai_status and status == kind.status else status
    headers = {"Retry-After": str(retry_after_s)} if status in (429, 503) else None
    return JSONResponse(body(shown, message, param, code), status, headers)


def handle(app: FastAPI, metrics: Metrics) -> None:
    """Turn every exception of the application into a response, and count it."""

    def refuse(request: Request, name: ErrorKind, message: str, **more: Any) -> JSONResponse:
        response = answer(request.url.path, name, message, **more)
        metrics.refuse(response.status_code, request.url.path)
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        param, message = first_problem(error.errors(), error.body)
        return refuse(request, "invalid_request", message, param=param)

    async def known(request: Request, error: Exception) -> JSONResponse:
        kind = _KIND_OF[type(error)]  # type: ignore[index]
        wait_s = getattr(error, "retry_after_s", _RETRY_AFTER_S)
        return refuse(request, kind, str(error), param=getattr(error, "param", None), retry_after_s=wait_s)

    for each in _KIND_OF:
        app.add_exception_handler(each, known)

    @app.exception_handler(HTTPException)
    async def by_status(request: Request, error: HTTPException) -> JSONResponse:
        kind: ErrorKind = "not_found" if error.status_code == 404 else "invalid_request"
        response = refuse(request, kind, _sentence(request, error), status=error.status_code)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__, exc_info=error)
        response = refuse(request, "server_error", "The server failed on this request; see the server's log.")
        response.headers["X-Request-ID"] = account.current().id  # answered outside of all middleware
        return response


def _sentence(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return "This path does not exist."
    if error.status_code == 405:
        return f"{request.method[:20]} is not allowed on this path."
    if error.status_code == 400:
        return "The body is not JSON in UTF-8."
    return error.detail or f"{HTTPStatus(error.status_code).phrase}."


REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer} for code in (400, 401, 404, 413, 422, 429, 500, 503, 504)
}
