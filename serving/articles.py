"""From a request to an article: its opening, its prompt, its text in whole sentences, and the memory of it all."""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from serving.guard import Guards
from serving.interface.errors import NotReady
from serving.interface.schemas import (
    LARGEST_SEED,
    Article,
    ArticleRecord,
    ArticleRequest,
    ArticleStart,
    CopiedPassage,
    WriteSettings,
)
from serving.interface.types import Order, Router, Served
from serving.templates import ArticleTemplate, Opening, WrongParameters
from serving.texts import Grown, Text
from textmill.gpt2.document import document, topic_prompt, whole_sentences
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.tokenizer import Tokenizer

_log = logging.getLogger(__name__)
_REMEMBERED = 8  # tokenizers kept: a few versions, and those before a swap


class Tokenizers:
    """The tokenizers of the models that answer."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[Path, Tokenizer] = OrderedDict()

    def of(self, served: Served) -> Tokenizer | None:
        """A model's tokenizer, None for a remote model. The first time it reads a file, so call it in a thread."""
        if served.directory is None:
            return None
        if served.directory not in self._loaded:
            self._loaded[served.directory] = Tokenizer.load(served.directory / bundle.TOKENIZER)
            while len(self._loaded) > _REMEMBERED:
                self._loaded.popitem(last=False)
        return self._loaded[served.directory]


@dataclass(frozen=True, slots=True)
class Desk:
    """What every text needs: the way to the workers, the tokenizers, the guards, the templates."""

    router: Router
    guards: Guards
    tokenizers: Tokenizers
    templates: Mapping[str, ArticleTemplate]
    log_prompts: bool = False

    def settings(self, served: Served, given: Mapping[str, object]) -> Settings:
        """How a text is written where the request does not say, and as it says."""
        settings = Settings.of(served.defaults)
        settings = replace(settings, max_tokens=min(settings.max_tokens, self.router.max_tokens))
        return replace(settings, **{"seed": secrets.randbits(31), **given})  # type: ignore[arg-type]

    def pick(self, user: str, target: str) -> Served:
        """The model that answers, as `Router.pick`.

        OpenAI's clients must name a model: the plain name of one that answers in several versions means the split.
        """
        named = [served for served in self.router.models() if served.identity.name == target]
        return self.router.pick(user, "" if len(named) > 1 else target)

    async def text(self, order: Order, served: Served, name: str, once: bool = False) -> Text:
        """A text that has taken its place; `once` where it cannot be written again if the guard finds fault.

        Raises:
            NotReady, UnknownModel, TooLong, QueueFull: as `Router.open`.
        """
        if self.log_prompts:
            _log.info("%s: prompt %r", name, order.prompt)
        guard = await asyncio.to_thread(self.guards.of, served)
        text = Text(self.router, guard.for_one_attempt() if once else guard, order, served, name)
        await text.open()
        return text

    def opening(self, request: ArticleRequest) -> Opening:
        """How the requested article begins.

        Raises:
            WrongParameters: there is no such template, or the parameters do not fit it.
        """
        if request.template is None:
            return Opening(request.topic or "")
        if request.template not in self.templates:
            raise WrongParameters(
                f"There is no template '{request.template[:40]}'; GET /v1/templates lists them.", "template"
            )
        return self.templates[request.template].fill(request.parameters)


class Draft:
    """One article being written. Close it, however it ends."""

    def __init__(self, text: Text, start: ArticleStart) -> None:
        self.start = start
        self._text = text

    @classmethod
    async def begin(cls, desk: Desk, request: ArticleRequest, number: int = 0) -> "Draft":
        """Begin the article of a request, or the one with this number of those it asks for.

        Raises:
            WrongParameters: as `Desk.opening`.
            NotReady, UnknownModel, TooLong, QueueFull: as `Router.open`.
        """
        opening = desk.opening(request)
        try:
            return await cls._begin(desk, request, opening, number)
        except NotReady:  # perhaps the version was replaced between being picked and being asked
            if not desk.router.models():
                raise
            return await cls._begin(desk, request, opening, number)

    @classmethod
    async def _begin(cls, desk: Desk, request: ArticleRequest, opening: Opening, number: int) -> "Draft":
        served = desk.pick(request.user, request.model)
        settings = desk.settings(served, request.given_settings())
        settings = replace(settings, seed=(settings.seed + number) % (LARGEST_SEED + 1))
        prompt, cut = _prompt(await asyncio.to_thread(desk.tokenizers.of, served), served, opening)
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
        return cls(await desk.text(order, served, start.id), start)

    async def grow(self) -> AsyncIterator[Grown]:
        """The text as it grows, the opening first.

        Raises:
            Interrupted, DeadlinePassed: as `Completion.pieces`.
        """
        if self.start.opening:
            yield Grown(self.start.opening)
        async for grown in self._text.grow():
            yield grown
            if grown.again and self.start.opening:
                yield Grown(self.start.opening)

    async def finish(self) -> ArticleRecord:
        """The whole article, once it has been written."""
        if not self._text.ending:
            async for _ in self.grow():
                pass
        text = self._text.text
        if self._text.ending in ("length", "refused"):
            text = whole_sentences(text)
        written = f"{self.start.opening}{text}".strip()
        self._text.passages += await asyncio.to_thread(self._copied, written)
        return ArticleRecord(
            **{**self.start.model_dump(), "prompt_tokens": self._text.prompt_tokens},
            text=written,
            finish_reason=self._text.ending,
            tokens=self._text.tokens,
            seconds=self._text.seconds,
            guard=self._text.report(self._text.passages),
            lineage=self._text.served.lineage,
        )

    def _copied(self, written: str) -> list[CopiedPassage]:
        return [] if self._text.ending == "refused" else self._text.guard.passages(written)

    async def close(self) -> None:
        """Free the place."""
        await self._text.close()


class Memory:
    """The articles written lately."""

    def __init__(self, size: int = 1000) -> None:
        self._articles: OrderedDict[str, ArticleRecord] = OrderedDict()
        self._size = size

    def keep(self, record: ArticleRecord) -> Article:
        """Remember an article, and give it as it is answered; the oldest one goes where there are too many."""
        self._articles[record.id] = record
        if len(self._articles) > self._size:
            self._articles.popitem(last=False)
        return Article(**record.model_dump(exclude={"lineage"}))

    def find(self, article_id: str) -> ArticleRecord | None:
        """An article written lately, or None."""
        return self._articles.get(article_id)


def model_id(served: Served) -> str:
    """The name under which a request gets exactly this model."""
    identity = served.identity
    return identity.name if identity.version is None else f"{identity.name}@{identity.version}"


def _prompt(tokenizer: Tokenizer | None, served: Served, opening: Opening) -> tuple[str | list[int], int]:
    """What the model reads before it writes, and how many tokens of it are cut: only the window's last are read."""
    if tokenizer is None:
        return document(opening.title, opening.text), 0
    if opening.text:
        tokens = [tokenizer.end, *tokenizer.encode(document(opening.title, opening.text))]
    else:
        tokens = topic_prompt(tokenizer, opening.title)
    cut = max(0, len(tokens) - (served.window - 1))  # a place is for the first token written
    return tokens[cut:], cut
