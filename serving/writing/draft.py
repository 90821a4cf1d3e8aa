"""One article under way: its opening, its prompt and its text in whole sentences."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

from serving.interface.schemas import (
    LARGEST_SEED,
    ArticleRecord,
    ArticleRequest,
    ArticleStart,
    CopiedPassage,
    WriteSettings,
)
from serving.interface.types import Order, Served
from serving.writing.desk import Desk
from serving.writing.guarded_text import Grown, Text
from serving.writing.templates import Opening
from textmill.gpt2.document import document, topic_prompt, whole_sentences
from textmill.gpt2.tokenizer import Tokenizer


class Draft:
    """One article being written. Open its text, and close it, however it ends."""

    def __init__(self, text: Text, start: ArticleStart) -> None:
        self.start = start
        self.text = text

    @classmethod
    async def begin(cls, desk: Desk, request: ArticleRequest, number: int = 0) -> "Draft":
        """Prepare the article of a request, or the one with this number of those it asks for.

        Raises:
            WrongParameters: as `Desk.opening`.
            NotReady, UnknownModel: as `Router.pick`.
        """
        opening = desk.opening(request)
        served = desk.pick(request.user, request.model)
        settings = desk.settings(served, request.given_settings())
        settings = replace(settings, seed=(settings.seed + number) % (LARGEST_SEED + 1))
        prompt, cut = prompt_for(await asyncio.to_thread(desk.tokenizers.of, served), served, opening)
        start = ArticleStart(
            id=f"art_{secrets.token_hex(12)}",
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            topic=opening.title,
            opening=opening.text,
            model=served.identity,
            seed=settings.seed,
            settings=WriteSettings.model_validate(settings, from_attributes=True),
            prompt_tokens=len(prompt) if isinstance(prompt, list) else 0,
            prompt_tokens_cut=cut,
        )
        order = Order(prompt, settings, request.user, deadline_s=request.deadline_s)
        return cls(await desk.text(order, served, start.id, never_empty=True), start)

    async def grow(self) -> AsyncIterator[Grown]:
        """The text as it grows, the opening first.

        Raises:
            Interrupted, DeadlinePassed: as `Completion.pieces`.
        """
        if self.start.opening:
            yield Grown(self.start.opening)
        async for grown in self.text.grow():
            yield grown
            if grown.again and self.start.opening:
                yield Grown(self.start.opening)

    async def finish(self) -> ArticleRecord:
        """The whole article, once it has been written."""
        if not self.text.ending:
            async for _ in self.grow():
                pass
        text = self.text.text
        if self.text.ending in ("length", "refused"):
            text = whole_sentences(text)
        written = f"{self.start.opening}{text}".strip()
        self.text.passages += await asyncio.to_thread(self._copied, written)
        return ArticleRecord(
            **{**self.start.model_dump(), "prompt_tokens": self.text.prompt_tokens},
            text=written,
            finish_reason=self.text.ending,
            tokens=self.text.tokens,
            seconds=self.text.seconds,
            guard=self.text.report(self.text.passages),
            lineage=self.text.served.lineage,
        )

    def _copied(self, written: str) -> list[CopiedPassage]:
        return [] if self.text.ending == "refused" else self.text.guard.passages(written)

    async def close(self) -> None:
        """Free the place."""
        await self.text.close()


def prompt_for(tokenizer: Tokenizer | None, served: Served, opening: Opening) -> tuple[str | list[int], int]:
    """What the model reads before it writes, and how many tokens of it are cut: only the window's last are read."""
    if tokenizer is None:
        return document(opening.title, opening.text), 0
    if opening.text:
        tokens = [tokenizer.end, *tokenizer.encode(document(opening.title, opening.text))]
    else:
        tokens = topic_prompt(tokenizer, opening.title)
    cut = max(0, len(tokens) - (served.window - 1))  # a place is for the first token written
    return tokens[cut:], cut
