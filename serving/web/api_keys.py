"""API keys: who may ask, and how often.

A file has one key a line, `name:sha256:HASH`. A key has 256 random bits, so a plain hash of it can be neither guessed
nor looked up. Keys that a person chose need a slow hash: `name:scrypt:SALT:HASH` (hex; n=16384, r=8, p=1). The file is
read again when it changes: a key taken out of it is refused within a second.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.web import error_answers
from textmill.ground.api_keys import NAME, hash_of
from textmill.ground.errors import UserError

_log = logging.getLogger(__name__)
OPEN_PATHS = ("/healthz", "/readyz")  # for probes; without a key, readiness says no more than yes or no
_SLOW = re.compile("(?:[0-9a-f]{2}){8,}:(?:[0-9a-f]{2}){32,64}")
_LOOK_EVERY_S = 1.0
_LONGEST_KEY = 512  # characters
_REMEMBERED = 256  # keys whose slow hash was computed lately


class Keys:
    """The keys of one file."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            UserError: it cannot be read, or a line in it is no key.
        """
        self._file = file
        self._clock = clock
        self._fast, self._slow = _read(file)
        self._changed = _changed(file)
        self._looked = clock()
        self._verified: dict[str, str] = {}  # SHA-256 of keys with a slow hash that were right, and their names

    def name_of(self, key: str) -> str | None:
        """Whose key this is, or None."""
        self._look()
        if not key or len(key) > _LONGEST_KEY:
            return None
        digest = hash_of(key)
        if name := self._fast.get(digest) or self._verified.get(digest):
            return name
        for name, salt, expected in self._slow:
            found = hashlib.scrypt(key.encode(), salt=salt, n=16384, r=8, p=1, dklen=len(expected))
            if hmac.compare_digest(found, expected):
                if len(self._verified) >= _REMEMBERED:
                    self._verified.clear()
                self._verified[digest] = name
                return name
        return None

    def _look(self) -> None:
        if self._clock() - self._looked < _LOOK_EVERY_S:
            return
        self._looked = self._clock()
        if (changed := _changed(self._file)) == self._changed:
            return
        try:
            self._fast, self._slow = _read(self._file)
            self._verified.clear()
            self._changed = changed
            _log.info("The API keys were read again: %d of them.", len(self._fast) + len(self._slow))
        except UserError as error:
            _log.error("The API keys stay as they were: %s", error)


def _read(file: Path) -> tuple[dict[str, str], list[tuple[str, bytes, bytes]]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The file of API keys {file} cannot be read ({error}); correct serve.keys_file.") from None
    fast: dict[str, str] = {}
    slow: list[tuple[str, bytes, bytes]] = []
    for number, line in enumerate(lines, 1):
        name, *rest = line.strip().split(":")
        if not name or name.startswith("#"):
            continue
        if NAME.fullmatch(name) and rest[:1] == ["sha256"] and re.fullmatch("[0-9a-f]{64}", "".join(rest[1:])):
            fast[rest[1]] = name
        elif NAME.fullmatch(name) and rest[:1] == ["scrypt"] and _SLOW.fullmatch(":".join(rest[1:])):
            slow.append((name, bytes.fromhex(rest[1]), bytes.fromhex(rest[2])))
        else:
            raise UserError(f"{file} line {number} is no API key; make one with 'textmill key NAME'.")
    return fast, slow


def _changed(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
        return status.st_mtime_ns, status.st_size
    except OSError:
        return None


def key_name(request: Request) -> str:
    """The name of the key that a request came with; empty where none is asked for."""
    return str(request.scope.get("textmill.key", ""))


class Budget:
    """How many requests each key may still make: full at first, refilled evenly through the minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # requests left, at a time

    def wait_s(self, name: str) -> float:
        """Spend one request; 0, or the seconds until there is one to spend."""
        if not self._per_minute:
            return 0.0
        now = self._clock()
        left, then = self._left.get(name, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - then) * self._per_minute / 60)
        if left < 1:
            self._left[name] = (left, now)
            return (1 - left) * 60 / self._per_minute
        self._left[name] = (left - 1, now)
        return 0.0


class KeyRequired:
    """Refuses every request without a key, but for probes: plain ASGI around the application."""

    def __init__(self, app: ASGIApp, keys: Keys, budget: Budget, refused: Callable[[int], None]) -> None:
        self._app = app
        self._keys = keys
        self._budget = budget
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # in a thread: a slow hash would hold up everybody else's answers
        name = await asyncio.to_thread(self._keys.name_of, _presented(Headers(scope=scope)))
        if name is None and scope["path"] not in OPEN_PATHS:
            await self._refuse(scope["path"], 401)(scope, receive, send)
            return
        # only what makes work is counted: the page's own files and a look at the metrics are free
        if name is not None and scope["method"] == "POST" and (wait_s := self._budget.wait_s(name)):
            await self._refuse(scope["path"], 429, wait_s)(scope, receive, send)
            return
        await self._app({**scope, "textmill.key": name or ""}, receive, send)

    def _refuse(self, path: str, status: int, wait_s: float = 0) -> JSONResponse:
        self._refused(status)
        if status == 429:
            message = "This API key has used up its requests for now; wait as long as Retry-After says."
            answer = error_answers.answer(path, "too_many_requests", message, retry_after_s=int(wait_s) + 1)
        else:
            message = "This server wants an API key: send 'Authorization: Bearer KEY'."
            answer = error_answers.answer(path, "authentication_error", message)
            # a browser then asks for a name and a password: any name, and the key
            answer.headers["WWW-Authenticate"] = 'Basic realm="Textmill: the password is your API key", charset="UTF-8"'
        return answer


def _presented(headers: Headers) -> str:
    """The key of a request: a bearer token, or the password of basic authentication, as browsers send it."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return headers.get("x-api-key", "")
