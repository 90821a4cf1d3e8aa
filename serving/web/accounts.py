"""ASGI middleware: an account of each request, its `X-Request-ID`, and one line in the log at its end."""

import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.interface import account
from serving.interface.account import Account

REQUEST_ID = "X-Request-ID"
_GIVEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")
_UNTOLD = ("/healthz", "/readyz", "/metrics", "/static/")  # asked for again and again; told only where they fail
_log = logging.getLogger("serving.request")


class Accounts:
    """Outermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].rstrip("/")
        now = Account(_id(Headers(scope=scope)), network(scope.get("client")), route=account.route_of(path))
        account.begin(now)
        began, status = time.monotonic(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = now.id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            if status >= 400 or not path.startswith(_UNTOLD):
                _tell(scope, now, status, 1000 * (time.monotonic() - began))


def _tell(scope: Scope, now: Account, status: int, ms: float) -> None:
    fields = {
        "request_id": now.id,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round(ms, 1),
        "key": now.key,
        "version": ",".join(dict.fromkeys(now.versions)),
        "tokens": now.tokens,
    }
    # repr: a path may hold line ends
    line = " ".join(f"{name}={value!r}" if name == "path" else f"{name}={value}" for name, value in fields.items())
    _log.info(line, extra={"fields": fields})


def _id(headers: Headers) -> str:
    """The client's id where it is one, else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _GIVEN.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def network(client: Sequence[Any] | None) -> str:
    """An address; of IPv6, the network that one user has."""
    address = str(client[0]) if client else ""
    try:
        return str(ipaddress.ip_network((address, 64), strict=False)) if ":" in address else address
    except ValueError:
        return address
