"""Streamed responses, and clients that disconnect before the end."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

SILENCE_S = 15  # proxies end connections on which nothing moves
COMMENT = ": still here\n\n"  # a server-sent event that says nothing
T = TypeVar("T")


class Closeable(Protocol):
    """An object that holds a slot at a worker."""

    async def close(self) -> None: ...


class EventStream(StreamingResponse):
    """Server-sent events of some texts. The texts are closed when the client disconnects or the stream ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], texts: Sequence[Closeable]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers)
        self._texts = texts
        self._sent = 0.0  # when something last was, on the event loop's clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # the client may have left anywhere in between
            await close_all(self._texts)

    async def stream_response(self, send: Send) -> None:
        """Send the events, and a comment after a silence to keep the connection open."""
        loop = asyncio.get_running_loop()

        async def noted(message: Message) -> None:
            self._sent = loop.time()
            await send(message)

        async def comment() -> None:
            while True:
                await asyncio.sleep(self._sent + SILENCE_S - loop.time())
                if loop.time() - self._sent >= SILENCE_S:
                    await noted({"type": "http.response.body", "body": COMMENT.encode(), "more_body": True})

        await noted({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # a task beside the events and not a limit on each of them, which would be a task and a timer for every token
        commenting = asyncio.create_task(comment())
        try:
            async for event in self.body_iterator:
                body = event if isinstance(event, bytes) else str(event).encode()
                await noted({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            commenting.cancel()
            await asyncio.wait((commenting,))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def close_all(texts: Sequence[Closeable]) -> None:
    """Free all slots, even if one fails."""
    await asyncio.shield(asyncio.gather(*(text.close() for text in texts), return_exceptions=True))


async def unless_client_leaves(request: Request, work: Awaitable[T]) -> T | Response:
    """The work's result. The work is cancelled when the client disconnects."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request.receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=499)
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def merged(sources: Sequence[AsyncIterator[T]]) -> AsyncIterator[tuple[int, T]]:
    """Merge several iterators: each item as it arrives, with its iterator's number."""
    if len(sources) == 1:  # a task for each item costs more than all else that is done with it
        async for item in sources[0]:
            yield 0, item
        return
    waiting = {asyncio.ensure_future(anext(source)): number for number, source in enumerate(sources)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                number = waiting.pop(task)
                try:
                    item = task.result()
                except StopAsyncIteration:
                    continue
                waiting[asyncio.ensure_future(anext(sources[number]))] = number
                yield number, item
    finally:
        for task in waiting:
            task.cancel()


def event(name: str, data: dict[str, Any]) -> str:
    """One server-sent event with a name."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
