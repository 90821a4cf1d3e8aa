"""One text on its way to a reader: written by a worker, watched by the guard, counted and logged."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from serving.interface import account
from serving.interface.schemas import LARGEST_SEED, CopiedPassage, GuardReport
from serving.interface.types import Completion, Order, Piece, Router, Served
from serving.writing.guard import ATTEMPTS, Guard, Withheld
from textmill.ground.errors import TextmillError

_log = logging.getLogger(__name__)
_NEXT_SEED = (
    0x9E3779B97F4A7C15 & LARGEST_SEED
)  # odd and large, so that seeds of one answer and of its neighbours differ

Ending = Literal["", "end", "length", "stop", "refused"]


@dataclass(frozen=True, slots=True)
class Grown:
    """What a text grew by. `again` throws away what came before: it is written afresh."""

    text: str = ""
    again: bool = False
    logprobs: Any = None


class Text:
    """A text being written. Close it, however it ends: one that nobody reads must not hold a place."""

    def __init__(
        self, router: Router, guard: Guard, order: Order, served: Served, name: str, never_empty: bool = False
    ) -> None:
        """Prepare a text; `open` it before anything else.

        Args:
            order: with a seed among its settings and no model picked yet.
            name: of the answer, for the log.
            never_empty: whether a text that comes out empty or too short is written again.
        """
        self.served = served
        self.text = ""  # what may be handed on
        self.ending: Ending = ""
        self.tokens = 0
        self.prompt_tokens = len(order.prompt) if isinstance(order.prompt, list) else 0
        self.attempts = 0
        self.passages: list[CopiedPassage] = []
        self.guard = guard
        self.router = router
        self._order = replace(order, served=served)
        self._name = name
        self._never_empty = never_empty
        self._began = time.monotonic()
        self._account = account.current()
        self._labels = (str(served.identity.version or ""), self._account.route)
        self._completion: Completion | None = None
        self._failed = False
        self._closed = False

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return round(time.monotonic() - self._began, 3)

    async def open(self) -> None:
        """Take a place.

        Raises:
            NotReady, UnknownModel, TooLong, QueueFull: as `Router.open`.
        """
        await open_all([self])

    def next_order(self) -> Order:
        """The order of the next attempt."""
        order = self._order
        seed = (order.settings.seed + self.attempts * _NEXT_SEED) % (LARGEST_SEED + 1)
        if order.deadline_s is not None:
            order = replace(order, deadline_s=max(0.001, order.deadline_s - self.seconds))
        return replace(order, settings=replace(order.settings, seed=seed))

    def begun(self, completion: Completion) -> None:
        """Take the completion of the order."""
        self._completion = completion
        self.attempts += 1

    async def grow(self) -> AsyncIterator[Grown]:
        """The text as it may be handed on, up to its end.

        Raises:
            Interrupted, DeadlinePassed: as `Completion.pieces`.
        """
        while True:
            withheld = Withheld(self.guard) if self.guard.withholds else None
            try:
                async for grown in self._attempt(withheld):
                    yield grown
            except TextmillError:
                self._failed = True
                raise
            self.passages = withheld.passages if withheld else []
            if withheld and withheld.passages:
                if self.attempts >= self.guard.attempts:
                    self.ending = "refused"
                    return
            elif self._is_whole or self.attempts >= ATTEMPTS:
                return
            await self._close_completion()
            await self.open()
            self.text, self.ending = "", ""
            yield Grown(again=True)

    @property
    def _is_whole(self) -> bool:
        """Whether the text may be handed on as it is."""
        asked_short = not self._never_empty or self.ending not in ("end", "length")
        return asked_short or self._order.settings.takes(self.text, self.ending)

    async def _attempt(self, withheld: Withheld | None) -> AsyncIterator[Grown]:
        assert self._completion
        async for piece in self._completion.pieces():
            self.tokens = piece.tokens
            self.prompt_tokens = piece.prompt_tokens or self.prompt_tokens
            text = await _released(withheld, piece) if withheld else piece.text
            if piece.finish:
                self.ending = piece.finish
            # what is held back must not be read from the probabilities
            logprobs = None if withheld else piece.logprobs
            if text or logprobs:
                yield self._handed_on(text, logprobs)
            if withheld and withheld.passages:
                return

    def _handed_on(self, text: str, logprobs: Any) -> Grown:
        if text and not self.text:
            self.router.metrics.first_text_s.labels(*self._labels).observe(time.monotonic() - self._began)
        self.text += text
        return Grown(text, logprobs=logprobs)

    async def finish(self) -> None:
        """Read the rest of the text."""
        async for _ in self.grow():
            pass

    def report(self, passages: list[CopiedPassage]) -> GuardReport:
        """What the guard says of the whole text."""
        if self.ending == "refused":
            status = "refused"
        elif self.guard.policy == "ignore":
            status = "not checked"
        elif self.guard.index is None:
            status = "no index"
        else:
            status = "copied" if passages else "clean"
        return GuardReport.model_validate(
            {"status": status, "words": self.guard.words, "attempts": self.attempts, "passages": passages}
        )

    async def close(self) -> None:
        """Free the place, and count the text."""
        await self._close_completion()
        if self._closed or not self.attempts:  # one that never took a place is no text
            return
        self._closed = True
        self._account.versions.append(self._labels[0])
        how = "failed" if self._failed else self.ending or "cancelled"
        metrics = self.router.metrics
        metrics.articles.labels(how, *self._labels).inc()
        if self.passages:
            metrics.copied.labels(self._labels[0]).inc(len(self.passages))
        if self.ending:
            metrics.article_s.labels(self.ending, *self._labels).observe(self.seconds)
        _log.info("%s: %s, %d tokens, %.2f s", self._name, how, self.tokens, self.seconds)

    async def _close_completion(self) -> None:
        if self._completion:
            self.router.metrics.tokens.labels(*self._labels).inc(self.tokens)
            self._account.tokens += self.tokens
            completion, self._completion = self._completion, None
            await completion.close()


async def open_all(texts: Sequence[Text]) -> None:
    """Take places for all texts of one request, or for none.

    Raises:
        NotReady, UnknownModel, TooLong, QueueFull: as `Router.open`.
    """
    completions = await texts[0].router.open_all([text.next_order() for text in texts])
    for text, completion in zip(texts, completions, strict=True):
        text.begun(completion)


async def _released(withheld: Withheld, piece: Piece) -> str:
    """What may be handed on once a piece has come. The index is asked in a thread, so that no other request waits."""
    due = withheld.is_due(piece.text)
    text = await asyncio.to_thread(withheld.push, piece.text) if due else withheld.push(piece.text)
    return text + await asyncio.to_thread(withheld.close) if piece.finish else text
