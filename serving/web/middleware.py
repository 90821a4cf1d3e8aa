"""ASGI middleware: security headers, CORS, allowed hosts, trailing slashes, and the limit of a request's body."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.web import error_answers
from textmill.settings.serving import Serve

LARGEST_HEAD = 32 * 1024  # bytes; the address and all headers
LARGEST_BODY = 64 * 1024  # bytes; the largest sensible request has a few hundred
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Allow browser pages from these origins to send requests and read responses (CORS)."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["Retry-After"],
        )


class SecurityHeaders:
    """Adds security headers: our pages load nothing from other sites and cannot be framed by them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class WithoutSlash:
    """Answers `/v1/models/` as `/v1/models`. A redirect would lead to whatever host the request names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


class AllowedHosts:
    """Refuses requests that name another host: a page of another site may have sent them (DNS rebinding)."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = Headers(scope=scope).get("host", "") if scope["type"] == "http" else ""
        if not named or _without_port(named) in self._hosts:  # a browser always names one
            await self._app(scope, receive, send)
            return
        message = f"This server does not answer for the host '{named[:80]}'; its operator can add it to serve.hosts."
        await error_answers.answer(scope["path"], "invalid_request", message, status=421)(scope, receive, send)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).strip("[]").lower()


def hosts_of(serve: Serve) -> list[str]:
    """The hosts that requests may name; empty: any."""
    if "*" in serve.hosts:
        return []
    return [*serve.hosts, *LOOPBACK] if serve.hosts or serve.host in LOOPBACK else []


class BodyLimit:
    """Refuses bodies over the limit, by their Content-Length and by their real size."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = 0
        said = Headers(scope=scope).get("content-length", "0")

        async def receive_within_limit() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            # raised where the body is read, inside the application, so that its error handler answers
            if size > LARGEST_BODY or (said.isdecimal() and int(said) > LARGEST_BODY):
                raise HTTPException(
                    413, f"The request's body exceeds the limit of {LARGEST_BODY:,} bytes; send a smaller one."
                )
            return message

        await self._app(scope, receive_within_limit, send)
