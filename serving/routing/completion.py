"""One text in generation, restarted on another worker if its worker is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from serving.interface.errors import DeadlinePassed, Interrupted
from serving.interface.metrics import Metrics
from serving.interface.types import Order, Piece
from serving.routing.deployment import Deployment, Place
from serving.routing.worker import Worker
from serving.routing.worker_client import Busy, Lost
from textmill.ground.errors import TextmillError

_log = logging.getLogger(__name__)
_ATTEMPTS = 3  # workers that one text may lose: a text that ends every worker must not end them all


class Writing:
    """A text in generation; implements `serving.interface.types.Completion`.

    If its worker is lost, another worker generates the text again. If the seed decides the text, the part already sent is
    skipped and the reader notices only a pause.
    """

    def __init__(self, deployment: Deployment, place: Place, order: Order, metrics: Metrics) -> None:
        """Start in a slot, which the text frees when it ends."""
        self.served = deployment.served
        self.seed = order.settings.seed
        self._order = order
        self._place = place
        self._metrics = metrics
        self._sent = ""
        self._scored = 0  # tokens whose logprobs were handed on
        self._whole = False
        self._ended = False
        self._queue: asyncio.Queue[Piece | TextmillError] = asyncio.Queue()
        self._task = asyncio.create_task(self._write())

    async def pieces(self) -> AsyncIterator[Piece]:
        """The text, piece by piece; unread pieces are merged. The last piece has a finish reason.

        Raises:
            Interrupted: the worker was lost before the text ended.
            DeadlinePassed: the order's deadline has passed.
            WorkerRefused: the worker refused the request.
        """
        while not self._ended:
            piece = await self._queue.get()
            while isinstance(piece, Piece) and not piece.finish and not self._queue.empty():
                following = self._queue.get_nowait()
                if isinstance(following, TextmillError):
                    yield piece
                    piece = following
                else:
                    piece = _joined(piece, following)
            if isinstance(piece, TextmillError):
                self._ended = True
                raise piece
            self._ended = bool(piece.finish)
            yield piece

    async def whole(self) -> str | None:
        """The whole text once it is finished, or None if it failed. For callers that do not read the pieces."""
        await asyncio.wait((self._task,))
        return self._sent if self._whole else None

    def interrupt(self, message: str) -> None:
        """End the text with an error that says why."""
        if not self._task.done():
            self._task.cancel()
            self._queue.put_nowait(Interrupted(message))

    async def close(self) -> None:
        """Free the slot. Calling it again has no effect."""
        self._task.cancel()
        await asyncio.wait((self._task,))
        self._place.leave()  # a task that was cancelled before its first step has not done so

    async def _write(self) -> None:
        try:
            async with asyncio.timeout(self._order.deadline_s):
                await self._until_written()
                self._whole = True
        except TimeoutError:
            limit = self._order.deadline_s
            self._queue.put_nowait(
                DeadlinePassed(
                    f"The text was not finished within {limit:g} s; ask for fewer tokens or a longer deadline."
                )
            )
        except TextmillError as error:
            self._queue.put_nowait(error)
        except Exception:
            _log.exception("A text failed.")
            self._queue.put_nowait(Interrupted("The server failed while generating this text; see the server's log."))
        finally:
            self._place.leave()

    async def _until_written(self) -> None:
        lost = 0
        while True:
            worker = await self._place.worker()
            try:
                await self._copy(worker)
                return
            except Busy:
                self._place.again(rest=True)
            except Lost as error:
                worker.suspect()
                lost += 1
                if lost == _ATTEMPTS or (self._sent and not worker.exact):
                    raise Interrupted("The model stopped before the end of the text; try again in a moment.") from error
                _log.warning("Restarting a text: %s", error)
                self._metrics.retries.inc()
                self._place.again()

    async def _copy(self, worker: Worker) -> None:
        """Pass on the worker's text without the beginning that was already sent.

        Raises:
            Interrupted: the new beginning differs from the one already sent.
        """
        assert worker.upstream
        before, repeated, scored = self._sent, "", self._scored
        async with aclosing(worker.upstream.stream(self._order, worker.ours)) as pieces:
            async for piece in pieces:
                if piece.logprobs:
                    count = len(piece.logprobs.get("tokens") or ())
                    piece = replace(piece, logprobs=_without_first(piece.logprobs, scored))
                    scored = max(0, scored - count)
                if len(repeated) < len(before):
                    repeated += piece.text
                    length = min(len(repeated), len(before))
                    if repeated[:length] != before[:length] or (piece.finish and length < len(before)):
                        raise Interrupted("The text was lost halfway and could not be continued; try again.")
                    piece = replace(piece, text=repeated[len(before) :])
                    if not piece.text and not piece.finish and not piece.logprobs:
                        continue
                self._sent += piece.text
                self._scored += len((piece.logprobs or {}).get("tokens") or ())
                self._queue.put_nowait(piece)


def _joined(first: Piece, second: Piece) -> Piece:
    logprobs = first.logprobs or second.logprobs
    if first.logprobs and second.logprobs:
        logprobs = {name: (first.logprobs.get(name) or []) + (values or []) for name, values in second.logprobs.items()}
    return replace(second, text=first.text + second.text, logprobs=logprobs)


def _without_first(logprobs: dict[str, Any], count: int) -> dict[str, Any] | None:
    """A piece's logprobs without its first tokens; None if none are left."""
    left = {name: values[count:] if values else values for name, values in logprobs.items()}
    return left if left.get("tokens") else None
