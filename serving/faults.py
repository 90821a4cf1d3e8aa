"""Every error as JSON of one shape, with nothing of the request's text in it or in the log."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving.metrics import Metrics
from serving.schemas import ErrorAnswer, ErrorDetail
from serving.writer import Interrupted, NotReady, TooLong
from textmill.gpt2.inference import QueueFull

_log = logging.getLogger(__name__)
_RETRY_AFTER_S = "5"  # about the time of one article


def body(kind: str, message: str, param: str | None = None) -> dict[str, Any]:
    """The JSON of an error."""
    return ErrorAnswer(
        error=ErrorDetail.model_validate({"type": kind, "message": message, "param": param})
    ).model_dump()


def answer(status: int, kind: str, message: str, param: str | None = None) -> JSONResponse:
    """An error's response."""
    headers = {"Retry-After": _RETRY_AFTER_S} if status in (429, 503) else None
    return JSONResponse(body(kind, message, param), status, headers)


def handle(app: FastAPI, metrics: Metrics) -> None:
    """Answer every exception of the application, and count the answers."""

    def refuse(status: int, kind: str, message: str, param: str | None = None) -> JSONResponse:
        metrics.refused.labels(str(status)).inc()
        return answer(status, kind, message, param)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        param, message = _first_problem(error)
        return refuse(422, "invalid_request", message, param)

    @app.exception_handler(TooLong)
    async def too_long(request: Request, error: TooLong) -> JSONResponse:
        return refuse(422, "invalid_request", str(error), "max_tokens")

    @app.exception_handler(QueueFull)
    async def full(request: Request, error: QueueFull) -> JSONResponse:
        return refuse(429, "too_many_requests", str(error))

    @app.exception_handler(NotReady)
    @app.exception_handler(Interrupted)
    async def not_ready(request: Request, error: Exception) -> JSONResponse:
        return refuse(503, "not_ready", str(error))

    @app.exception_handler(HTTPException)
    async def by_status(request: Request, error: HTTPException) -> JSONResponse:
        kind = "not_found" if error.status_code == 404 else "invalid_request"
        response = refuse(error.status_code, kind, _sentence(request, error))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__, exc_info=error)
        return refuse(500, "server_error", "The server failed on this request; its log has the reason.")


def _first_problem(error: RequestValidationError) -> tuple[str | None, str]:
    problem = error.errors()[0]
    where = [str(part) for part in problem["loc"] if part != "body"]
    if problem["type"] == "json_invalid":
        return None, "The body is not valid JSON."
    param = ".".join(where) or None
    if problem["type"] == "extra_forbidden":
        return param, f"'{(param or '')[:40]}' is not a field of this request."
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return param, f"{param or 'The body'}: {message}."


def _sentence(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is nothing at this address."
    if error.status_code == 405:
        return f"{request.method} is not possible at this address."
    if error.status_code == 400:
        return "The body cannot be read as JSON in UTF-8."
    return error.detail or f"{HTTPStatus(error.status_code).phrase}."
