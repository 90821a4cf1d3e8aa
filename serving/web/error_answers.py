"""Every error as JSON of one shape, OpenAI's, with nothing of the request's text in it or in the log."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving.feedback.ratings import NotTakenDown
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
from serving.interface.schemas import (
    ErrorAnswer,
    ErrorDetail,
)
from serving.writing.templates import WrongParameters
from textmill.ground.errors import TextmillError

_log = logging.getLogger(__name__)
_RETRY_AFTER_S = 5  # about the time of one article
_KINDS: dict[type[TextmillError], tuple[int, str]] = {
    TooLong: (422, "invalid_request"),
    WrongParameters: (422, "invalid_request"),
    WorkerRefused: (422, "invalid_request"),
    UnknownModel: (404, "not_found"),
    QueueFull: (429, "too_many_requests"),
    NotReady: (503, "not_ready"),
    Interrupted: (503, "not_ready"),
    NotTakenDown: (503, "not_ready"),
    DeadlinePassed: (504, "deadline_passed"),
}
# OpenAI's clients know errors by these, and a wrong request by status 400
_OPENAI_PATHS = ("/v1/completions", "/v1/models")
_OPENAI_KINDS = {
    "invalid_request": "invalid_request_error",
    "not_found": "invalid_request_error",
    "too_many_requests": "rate_limit_error",
}
_OPENAI_CODES = {"not_found": "model_not_found", "too_many_requests": "rate_limit_exceeded"}


def body(kind: str, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The JSON of an error."""
    detail = ErrorDetail.model_validate({"type": kind, "message": message, "param": param, "code": code})
    return ErrorAnswer(error=detail).model_dump()


def body_of(error: TextmillError) -> dict[str, Any]:
    """The JSON of an error that came while its answer was being streamed."""
    _, kind = _KINDS.get(type(error), (500, "server_error"))
    return body("server_error" if kind == "not_ready" else kind, str(error), getattr(error, "param", None))


def answer(
    status: int, kind: str, message: str, param: str | None = None, retry_after_s: int = _RETRY_AFTER_S
) -> JSONResponse:
    """An error's response."""
    headers = {"Retry-After": str(retry_after_s)} if status in (429, 503) else None
    return JSONResponse(body(kind, message, param), status, headers)


def handle(app: FastAPI, metrics: Metrics) -> None:
    """Answer every exception of the application, and count the answers."""

    def refuse(
        request: Request, status: int, kind: str, message: str, param: str | None = None, wait_s: int = _RETRY_AFTER_S
    ) -> JSONResponse:
        code = None
        if request.url.path.startswith(_OPENAI_PATHS):
            status = 400 if status == 422 else status
            kind, code = _OPENAI_KINDS.get(kind, kind), _OPENAI_CODES.get(kind)
        metrics.refused.labels(str(status)).inc()
        headers = {"Retry-After": str(wait_s)} if status in (429, 503) else None
        return JSONResponse(body(kind, message, param, code), status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        param, message = _first_problem(error)
        return refuse(request, 422, "invalid_request", message, param)

    async def known(request: Request, error: Exception) -> JSONResponse:
        status, kind = _KINDS[type(error)]  # type: ignore[index]
        wait_s = getattr(error, "retry_after_s", _RETRY_AFTER_S)
        return refuse(request, status, kind, str(error), getattr(error, "param", None), wait_s)

    for each in _KINDS:
        app.add_exception_handler(each, known)

    @app.exception_handler(HTTPException)
    async def by_status(request: Request, error: HTTPException) -> JSONResponse:
        kind = "not_found" if error.status_code == 404 else "invalid_request"
        response = refuse(request, error.status_code, kind, _sentence(request, error))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__, exc_info=error)
        return refuse(request, 500, "server_error", "The server failed on this request; its log has the reason.")


def _first_problem(error: RequestValidationError) -> tuple[str | None, str]:
    problem = error.errors()[0]
    where = [str(part)[:40] for part in problem["loc"] if part != "body"]
    if problem["type"] == "json_invalid":
        return None, "The body is not valid JSON."
    param = ".".join(where) or None
    if problem["type"] == "extra_forbidden":
        return param, f"'{param or ''}' is not a field of this request."
    said = problem["msg"].removeprefix("Value error, ")
    return param, f"{param or 'The body'}: {said[0].lower()}{said[1:]}."


def _sentence(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is nothing at this address."
    if error.status_code == 405:
        return f"{request.method[:20]} is not possible at this address."
    if error.status_code == 400:
        return "The body cannot be read as JSON in UTF-8."
    return error.detail or f"{HTTPStatus(error.status_code).phrase}."


REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer} for code in (400, 401, 404, 413, 422, 429, 500, 503, 504)
}
