"""From a request to an article: the bridge between the server's event loop and the engine's thread."""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

from serving.metrics import Metrics
from serving.model import ServedModel
from serving.schemas import Article, ArticleRecord, ArticleRequest, ArticleStart, WriteSettings
from textmill.errors import TextmillError
from textmill.gpt2.document import topic_prompt, whole_sentences
from textmill.gpt2.generation import Chunk
from textmill.gpt2.sampling import Settings

_log = logging.getLogger(__name__)


class TooLong(TextmillError):
    """More tokens are asked for than the server writes."""


class NotReady(TextmillError):
    """No model is loaded yet, or none any more."""


class Interrupted(TextmillError):
    """The model ended before the article did."""


class Draft:
    """One article being written. Close it, however it ends: a draft nobody reads must not hold a slot."""

    def __init__(self, writer: "Writer", model: ServedModel, request: ArticleRequest, settings: Settings) -> None:
        self._writer = writer
        self._model = model
        self._began = time.monotonic()
        self._chunks: asyncio.Queue[Chunk] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(chunk: Chunk) -> None:
            loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)

        prompt = topic_prompt(model.engine.tokenizer, request.topic)
        self._generation = model.engine.submit(prompt, settings, deliver)
        cut = max(0, len(prompt) - model.engine.room)
        self.start = ArticleStart(
            id=f"art_{secrets.token_hex(12)}",
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            topic=request.topic,
            model=model.identity,
            seed=settings.seed,
            settings=WriteSettings.model_validate(settings, from_attributes=True),
            prompt_tokens=len(prompt) - cut,
            prompt_tokens_cut=cut,
        )
        self._text = ""
        self._tokens = 0
        self._last: Chunk | None = None

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it grows, up to its end.

        Raises:
            Interrupted: the model ended before it.
        """
        while self._last is None:
            chunk = await self._chunks.get()
            if chunk.text and not self._text:
                self._writer.metrics.first_text_s.observe(time.monotonic() - self._began)
            self._text += chunk.text
            self._tokens = chunk.tokens
            if chunk.finish:
                self._last = chunk
            if chunk.text:
                yield chunk.text
        if self._last.finish in ("cancelled", "failed"):
            raise Interrupted("The model stopped before the article's end; ask again in a moment.")

    async def finish(self) -> Article:
        """The whole article, once it has been written; it can be looked up from now on."""
        async for _ in self.pieces():
            pass
        assert self._last is not None
        reason = self._last.finish
        article = Article(
            **self.start.model_dump(),
            text=(whole_sentences(self._text) if reason == "length" else self._text).strip(),
            finish_reason=reason,
            tokens=self._tokens,
            seconds=round(time.monotonic() - self._began, 3),
        )
        self._writer.keep(ArticleRecord(**article.model_dump(), lineage=self._model.lineage))
        return article

    def close(self) -> None:
        """Count the article, and end it if it has not ended by itself."""
        self._generation.cancel()
        seconds = time.monotonic() - self._began
        finish = self._last.finish if self._last else "cancelled"
        metrics = self._writer.metrics
        metrics.articles.labels(finish).inc()
        metrics.tokens.inc(self._tokens)
        if self._last:
            metrics.article_s.observe(seconds)
        _log.info("%s: %s, %d tokens, %.2f s", self.start.id, finish, self._tokens, seconds)


class Writer:
    """The loaded model, the limits, and the articles written lately."""

    def __init__(self, max_tokens: int, remembered: int = 1000) -> None:
        """Begin without a model.

        Args:
            max_tokens: of one article, at most.
            remembered: how many of the latest articles can be looked up.
        """
        self.max_tokens = max_tokens
        self.model: ServedModel | None = None
        self.metrics = Metrics(
            running=lambda: self.model.engine.running if self.model else 0,
            waiting=lambda: self.model.engine.waiting if self.model else 0,
        )
        self._remembered = remembered
        self._articles: OrderedDict[str, ArticleRecord] = OrderedDict()

    def use(self, model: ServedModel) -> None:
        """Answer with this model from now on."""
        self.model = model
        identity = model.identity
        self.metrics.model.clear()
        self.metrics.model.labels(
            identity.name, str(identity.version or ""), identity.stage or "", identity.checksum
        ).set(1)

    def ready_model(self) -> ServedModel:
        """The model that answers; NotReady where there is none or it has failed."""
        if self.model is None:
            raise NotReady("The model is still being loaded; try again in a moment.")
        if self.model.engine.failure:
            raise NotReady("The model has failed; the server must be started again.")
        return self.model

    def default_settings(self, model: ServedModel) -> Settings:
        """How an article is written where the request does not say."""
        settings = Settings.of(model.engine.defaults)
        return replace(settings, max_tokens=min(settings.max_tokens, self.max_tokens))

    def begin(self, request: ArticleRequest) -> Draft:
        """Start an article.

        Raises:
            NotReady: there is no model.
            TooLong: the request asks for more tokens than the server writes.
            QueueFull: as many requests wait as may.
        """
        model = self.ready_model()
        if (request.max_tokens or 0) > self.max_tokens:
            raise TooLong(f"{request.max_tokens} tokens are too many; this server writes {self.max_tokens} at most.")
        given = {"seed": secrets.randbits(31), **request.given_settings()}
        return Draft(self, model, request, replace(self.default_settings(model), **given))

    def keep(self, record: ArticleRecord) -> None:
        """Remember an article; the oldest one goes where there are too many."""
        self._articles[record.id] = record
        if len(self._articles) > self._remembered:
            self._articles.popitem(last=False)

    def find(self, article_id: str) -> ArticleRecord | None:
        """An article written lately, or None."""
        return self._articles.get(article_id)

    def close(self) -> None:
        """End the model's engine; articles under way are cancelled."""
        if self.model:
            self.model.engine.close()
