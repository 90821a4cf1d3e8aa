"""Limits of a connection, before the application sees a request: headers, time to receive it, number of connections.

uvicorn stays the server: a subclass of its protocol is all this takes. Hypercorn limits the size of headers and the
number of requests, but neither the time to receive them nor the number of connections. Granian limits all of them, but
runs the application in processes of its own, which cannot hold our workers and queue.
"""

import asyncio
import logging
import resource
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.web import error_answers
from serving.web.middleware import LARGEST_HEAD

KEEP_ALIVE_S = 75  # longer than proxies keep idle connections, which is 60 s
_RESERVED_FILES = 128  # descriptors for workers, logs, the registry and the outbox
_FILES_PER_CONNECTION = 2  # the client's, and one to a worker
_TOLD_EVERY_S = 10.0
_SLICE = 8192  # bytes given to the parser at once
_log = logging.getLogger(__name__)


def most_connections(wanted: int) -> int:
    """The number of connections that the process's file descriptors suffice for, at most `wanted`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * _FILES_PER_CONNECTION + _RESERVED_FILES
    soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = max(1, min(wanted, (allowed - _RESERVED_FILES) // _FILES_PER_CONNECTION))
    if most < wanted:
        _log.warning("%d connections at most: the limit of open files is %d; raise it (ulimit -n).", most, allowed)
    return most


def tell_seldom(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler of the event loop. asyncio reports used-up file descriptors hundreds of times a second."""
    if "out of system resource" not in context.get("message", ""):
        loop.default_exception_handler(context)
    elif time.monotonic() - _told[0] > _TOLD_EVERY_S:
        _told[0] = time.monotonic()
        _log.error("No connection can be accepted: %s. Trying again every second.", context.get("exception"))


_told = [-_TOLD_EVERY_S]


class Room:
    """The open connections of one server, those without a complete request in the order of their last activity."""

    def __init__(self, most: int, receive_s: float) -> None:
        self.most = most
        self.receive_s = receive_s  # for a request's headers and body
        self.idle: dict[LimitedProtocol, None] = {}


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits. Its class attribute `room` is set once for a process."""

    room: Room

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = self._silent = 0  # bytes of the head; bytes since the parser last reported anything
        self._in_head = True
        self._receiving: asyncio.TimerHandle | None = None
        if len(self.connections) > self.room.most and not self._make_room():
            self._refuse(503, "not_ready", "The server has too many connections; try again in a moment.")
            return
        self._wait_for_request()

    def _make_room(self) -> bool:
        """Close the connection that has been without a complete request for longest."""
        oldest = next(iter(self.room.idle), None)
        if oldest is None:
            return False
        self.room.idle.pop(oldest)
        oldest.transport.abort()
        return True

    def _wait_for_request(self) -> None:
        self.room.idle[self] = None
        self._limit_receiving()

    def _limit_receiving(self) -> None:
        if self._receiving is None:
            self._receiving = self.loop.call_later(self.room.receive_s, self._too_slow)

    def _too_slow(self) -> None:
        self._receiving = None
        cycle = self.cycle
        unanswered = cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started)
        if unanswered and not self.pipeline:  # else the answer would stand where an earlier request's belongs
            self._refuse(408, "invalid_request", f"The request did not arrive within {self.room.receive_s:g} s.")
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.idle.pop(self, None)
        self._received()
        super().connection_lost(exc)

    def _received(self) -> None:
        if self._receiving:
            self._receiving.cancel()
            self._receiving = None

    def data_received(self, data: bytes) -> None:
        if self._receiving is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_request()
        for start in range(0, len(data), _SLICE):  # the parser keeps what it has not reported yet
            if self.transport.is_closing():
                return
            part = data[start : start + _SLICE]
            self._silent += len(part)
            super().data_received(part)
            if self._silent > LARGEST_HEAD and not self.transport.is_closing():
                self._too_large()

    def on_message_begin(self) -> None:
        self._head, self._in_head, self._silent = 0, True, 0
        self._limit_receiving()  # of a request that follows another unasked, too
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value) + 4  # ": " and the line's end
        self._silent = 0
        if self._head <= LARGEST_HEAD:
            super().on_header(name, value)
        elif not self._in_head and not self.transport.is_closing():  # fields after a chunked body count too
            self._too_large()

    def on_headers_complete(self) -> None:
        self._in_head, self._silent = False, 0
        if self._head > LARGEST_HEAD:
            self._too_large()
        elif not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        if self.cycle is not None and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._silent = 0
        self._received()
        if self.cycle is not None and not self.transport.is_closing():
            if self.cycle.response_complete:  # answered before its body came: the next request is waited for
                self._wait_for_request()
            else:
                self.room.idle.pop(self, None)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if (self.timeout_keep_alive_task or self._receiving) and not self.transport.is_closing():
            self.room.idle[self] = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as every other error."""
        self._refuse(400, "invalid_request", "The request is not valid HTTP.")

    def _too_large(self) -> None:
        message = f"The request's headers exceed the limit of {LARGEST_HEAD:,} bytes; send fewer."
        self._refuse(431, "invalid_request", message)

    def _refuse(self, status: int, kind: Any, message: str) -> None:
        """Answer, unless an answer has begun, and close the connection."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            answer = error_answers.answer("", kind, message, status=status)
            headers = "".join(f"{name.decode()}: {value.decode()}\r\n" for name, value in answer.raw_headers)
            head = f"HTTP/1.1 {status} {_PHRASES[status]}\r\n{headers}connection: close\r\n\r\n"
            self.transport.write(head.encode() + bytes(answer.body))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Unavailable"}
