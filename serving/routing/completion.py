"""One text on its way from a worker, whatever befalls the worker."""

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
    """A text under way: `serving.interface.types.Completion`.

    A text whose worker is lost is written again by another one. Where the seed decides the text, what has been handed
    on already is left out, and the reader notices nothing but the pause.
    """

    def __init__(self, deployment: Deployment, place: Place, order: Order, metrics: Metrics) -> None:
        """Begin in a place, which the text leaves when it ends."""
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
        """The text as it grows, what came while nobody read in one; the last piece has a finish.

        Raises:
            Interrupted: the model ended before the text did.
            DeadlinePassed: the order's time is over.
            WorkerRefused: the worker says no.
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
        """The whole text once it is written, or None where it was not; for who does not read the pieces."""
        await asyncio.wait((self._task,))
        return self._sent if self._whole else None

    async def close(self) -> None:
        """Free the place; more than once does no harm."""
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
            self._queue.put_nowait(DeadlinePassed(f"The text was not written within {limit:g} s; ask for less."))
        except TextmillError as error:
            self._queue.put_nowait(error)
        except Exception:
            _log.exception("A text failed.")
            self._queue.put_nowait(Interrupted("The server failed on this text; its log has the reason."))
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
                    raise Interrupted("The model stopped before the text's end; ask again in a moment.") from error
                _log.warning("A text is written again: %s", error)
                self._metrics.retries.inc()
                self._place.again()

    async def _copy(self, worker: Worker) -> None:
        """Hand on what the worker writes, but for the beginning that has been handed on before.

        Raises:
            Interrupted: the beginning is another one than before.
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
                        raise Interrupted("The text was lost halfway and could not be continued; ask again.")
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
    """The logprobs of a piece, but for those of its first tokens; None if none are left."""
    left = {name: values[count:] if values else values for name, values in logprobs.items()}
    return left if left.get("tokens") else None
