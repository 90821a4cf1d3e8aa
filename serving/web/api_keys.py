"""API keys: who may send requests, and how many per minute.

The file has one key a line, `name:sha256:HASH`. A key has 256 random bits, so a plain hash of it cannot be guessed or
looked up. Keys that a person chose need a slow hash: `name:scrypt:SALT:HASH` (hex; n=16384, r=8, p=1). The file is
reloaded when it changes: a removed key is refused within a second.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.interface import account
from serving.interface.errors import QueueFull
from serving.web import error_answers
from serving.web.accounts import network
from textmill.ground.api_keys import NAME, hash_of
from textmill.ground.errors import UserError

_log = logging.getLogger(__name__)
LIVENESS = "/healthz"  # answered whatever key comes with it
OPEN_PATHS = (LIVENESS, "/readyz")  # for probes; without a key, readiness says no more than yes or no
_SPENT = "The rate limit of this API key is reached; wait for the seconds in Retry-After."
_SLOW = re.compile("(?:[0-9a-f]{2}){8,}:(?:[0-9a-f]{2}){32,64}")
_LOOK_EVERY_S = 1.0
_LONGEST_KEY = 512  # characters
_REMEMBERED = 4096  # keys whose slow hash was computed lately; of right and of wrong ones each
_MOST_WAITING = 8  # keys that wait for a slow hash of 50 ms
_MOST_FAILURES = 20  # wrong keys of one address in a minute; then its unknown keys are refused without a slow hash
_MOST_NAMES = 10_000


class Unknown(Exception):
    """Only a slow hash can tell whose key this is."""


class Keys:
    """The keys of one file."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            UserError: the file cannot be read, or a line is not a key.
        """
        self._file = file
        self._clock = clock
        self._fast, self._slow = _read(file)
        self._changed = _changed(file)
        self._looked = clock()
        self._verified: OrderedDict[str, str] = (
            OrderedDict()
        )  # SHA-256 of keys whose slow hash was right, and their names
        self._wrong: OrderedDict[str, None] = OrderedDict()  # SHA-256 of keys that were wrong
        self._waiting = 0
        # its own thread: a slow hash must not take those that answer everybody else
        self._hashing = ThreadPoolExecutor(1, "textmill-scrypt")

    def known(self, key: str) -> str | None:
        """The name of this key's owner, None if the key is wrong. Takes microseconds.

        Raises:
            Unknown: only a slow hash can tell; see `verified`.
        """
        self._look()
        if not key or len(key) > _LONGEST_KEY:
            return None
        digest = hash_of(key)
        if name := self._fast.get(digest) or self._verified.get(digest):
            return name
        if self._slow and digest not in self._wrong:
            raise Unknown
        return None

    async def verified(self, key: str) -> str | None:
        """The name of an unknown key's owner, by slow hashes, or None. The key's SHA-256 is remembered either way.

        Raises:
            QueueFull: other keys wait to be checked.
        """
        if self._waiting >= _MOST_WAITING:
            raise QueueFull("Too many API keys are being checked; try again in a moment.", 2)
        self._waiting += 1
        slow = self._slow
        try:
            name = await asyncio.get_running_loop().run_in_executor(self._hashing, _slow_match, slow, key)
        finally:
            self._waiting -= 1
        if slow is not self._slow:  # the file has changed meanwhile
            return None
        remembered: OrderedDict[str, Any] = self._wrong if name is None else self._verified
        remembered[hash_of(key)] = name
        while len(remembered) > _REMEMBERED:
            remembered.popitem(last=False)
        return name

    def _look(self) -> None:
        if self._clock() - self._looked < _LOOK_EVERY_S:
            return
        self._looked = self._clock()
        if (changed := _changed(self._file)) == self._changed:
            return
        try:
            self._fast, self._slow = _read(self._file)
            self._verified.clear()
            self._wrong.clear()
            self._changed = changed
            _log.info("Reloaded %d API keys.", len(self._fast) + len(self._slow))
        except UserError as error:
            _log.error("The API keys could not be reloaded; the old ones stay valid. %s", error)


def _slow_match(slow: Sequence[tuple[str, bytes, bytes]], key: str) -> str | None:
    for name, salt, expected in slow:
        found = hashlib.scrypt(key.encode(errors="surrogateescape"), salt=salt, n=16384, r=8, p=1, dklen=len(expected))
        if hmac.compare_digest(found, expected):
            return name
    return None


def _read(file: Path) -> tuple[dict[str, str], list[tuple[str, bytes, bytes]]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The API keys file {file} cannot be read ({error}); correct serve.keys_file.") from None
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
            raise UserError(f"{file}, line {number} is not an API key; make one with 'textmill key NAME'.")
    return fast, slow


def _changed(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
        return status.st_mtime_ns, status.st_size
    except OSError:
        return None


def key_name(request: Request) -> str:
    """The name of a request's key; empty if the server requires none."""
    return str(request.scope.get("textmill.key", ""))


class Budget:
    """Rate limit for each key: a full budget at first, refilled evenly over each minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests left, at a time

    def wait_s(self, name: str) -> float:
        """Spend one request. Returns 0, or the seconds until the next is available."""
        if not self._per_minute:
            return 0.0
        now = self._clock()
        left, then = self._left.get(name, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - then) * self._per_minute / 60)
        if left < 1:
            self._left[name] = (left, now)
            return (1 - left) * 60 / self._per_minute
        self._left[name] = (left - 1, now)
        if len(self._left) > _MOST_NAMES:
            self._left.popitem(last=False)
        return 0.0

    def left_s(self, name: str) -> float:
        """As `wait_s`, without spending anything."""
        left, then = self._left.get(name, (float(self._per_minute), self._clock()))
        left += (self._clock() - then) * self._per_minute / 60
        return max(0.0, (1 - left) * 60 / self._per_minute)


class Failures:
    """The wrong keys that each address sent lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = Budget(_MOST_FAILURES, clock)

    def count(self, address: str) -> None:
        """Count a wrong key."""
        self._budget.wait_s(address)

    def wait_s(self, address: str) -> float:
        """Seconds until an unknown key of this address is checked again; 0: at once."""
        return self._budget.left_s(address)


class KeyRequired:
    """ASGI middleware that refuses requests without a key, except probes."""

    def __init__(self, app: ASGIApp, keys: Keys, budget: Budget, refused: Callable[[int, str], None]) -> None:
        self._app = app
        self._keys = keys
        self._budget = budget
        self._failures = Failures()
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == LIVENESS:
            await self._app({**scope, "textmill.key": ""}, receive, send)
            return
        try:
            name = await self._name(_presented(Headers(scope=scope)), network(scope.get("client")))
        except QueueFull as error:
            await self._refuse(scope["path"], 429, error.retry_after_s, str(error))(scope, receive, send)
            return
        if name is None and scope["path"] not in OPEN_PATHS:
            await self._refuse(scope["path"], 401)(scope, receive, send)
            return
        # only what makes work is counted: the page's own files and a look at the metrics are free
        if name is not None and scope["method"] == "POST" and (wait_s := self._budget.wait_s(name)):
            await self._refuse(scope["path"], 429, wait_s)(scope, receive, send)
            return
        if name:
            now = account.current()
            now.key = now.client = name
        await self._app({**scope, "textmill.key": name or ""}, receive, send)

    async def _name(self, key: str, network: str) -> str | None:
        """The name of a key's owner, or None.

        Raises:
            QueueFull: the key is unknown, and too many were wrong or are being checked.
        """
        try:
            name = self._keys.known(key)
        except Unknown:
            if wait_s := self._failures.wait_s(network):
                raise QueueFull(
                    "Too many wrong API keys came from this address; try again later.", int(wait_s) + 1
                ) from None
            name = await self._keys.verified(key)
        if name is None and key:
            self._failures.count(network)
        return name

    def _refuse(self, path: str, status: int, wait_s: float = 0, message: str = _SPENT) -> JSONResponse:
        self._refused(status, path)
        if status == 429:
            answer = error_answers.answer(path, "too_many_requests", message, retry_after_s=int(wait_s) + 1)
        else:
            message = "This server requires an API key; send 'Authorization: Bearer KEY'."
            answer = error_answers.answer(path, "authentication_error", message)
            # a browser then asks for a name and a password: any name, and the key
            answer.headers["WWW-Authenticate"] = 'Basic realm="Textmill: the password is your API key", charset="UTF-8"'
        return answer


def _presented(headers: Headers) -> str:
    """A request's key: its bearer token, or the password of basic authentication (from browsers)."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return headers.get("x-api-key", "")
