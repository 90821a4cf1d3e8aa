"""Write articles to the store in batches, without duplicates and repeated text."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from pymongo.errors import PyMongoError

from scraper.items import Found, Known, NotModified
from scraper.storage.counts import CrawlCounts
from scraper.storage.crawl_store import CrawlStore
from scraper.storage.duplicates import Duplicates
from scraper.storage.repeated_text import REFUSED, clean, paragraph_hashes, repeated_in, without
from textmill.articles.article import key_of, now
from textmill.ground.errors import UserError
from textmill.ground.words import count
from textmill.settings.sites import Source

BATCH = 50  # articles in one write: a crawl that is killed loses no more
FLUSH_S = 10  # the longest that an article waits for its batch to fill
PAGES = 500  # refused or unchanged pages in one write


def store_stopped(error: PyMongoError, articles: int) -> UserError:
    """The store stopped answering during the crawl."""
    return UserError(
        f"The article store stopped answering ({type(error).__name__}) after {articles} articles; "
        "the stored articles remain; start the store and crawl again."
    )


class ArticleWriter:
    """Writes one crawl's articles and page records.

    Attributes:
        complete: whether the crawl met every page. If not, pages that wait for a better copy are left to the next crawl.
        failure: why the store stopped accepting writes, or None.
    """

    def __init__(
        self,
        store: CrawlStore,
        source: Source,
        counts: CrawlCounts,
        min_words: int,
        configured: Collection[str],
        on_failure: Callable[[], None],
    ) -> None:
        """Start writing.

        Args:
            min_words: minimum length of an article, in words.
            configured: names of all configured sources.
            on_failure: called once if the store fails.
        """
        self._store = store
        self._source = source
        self._counts = counts
        self._min_words = min_words
        self._configured = configured
        self._on_failure = on_failure
        self._duplicates = Duplicates({})
        self._repeated: set[int] = set()
        self._knows_pages = True
        self._batch: list[Found] = []
        self._pages: dict[str, dict[str, Any]] = {}
        self._writing = asyncio.Lock()
        self._cleaned = True
        self._flushed = time.monotonic()
        self.forgotten: set[str] = set()  # keys
        self.complete = True
        self.failure: UserError | None = None

    async def prepare(self) -> None:
        """Read the store's state that the crawl needs.

        Raises:
            UserError: the store does not answer.
        """
        try:
            self._duplicates = Duplicates(await self._store.texts(self._source.name))
            self._repeated = await self._store.repeated(self._source.name)
            self.forgotten = await self._store.forgotten_keys()
            self._knows_pages = await self._store.pages.find_one({"refused": None}, {"_id": 1}) is not None
        except PyMongoError as error:
            raise store_stopped(error, 0) from error

    async def known(self, url: str) -> Known | None:
        """The stored record of a page; None also if its source was renamed, so that its articles move."""
        try:
            known = await self._store.known(url) if self._knows_pages else None
        except PyMongoError:  # the next write says so
            return None
        return known if known and known.source in self._configured else None

    async def add(self, found: Found) -> None:
        """Add an article, and write the batch when it is full."""
        hashes = paragraph_hashes(found.article.text)
        article = without(found.article, self._repeated)
        kept = self._duplicates.keep(replace(found, article=article, paragraphs=hashes))
        if kept:
            self._batch.append(kept)
        if len(self._batch) >= BATCH or time.monotonic() - self._flushed > FLUSH_S:
            await self.flush()

    async def confirm(self, unchanged: NotModified) -> None:
        """Record an article as unchanged (status 304)."""
        self._duplicates.confirm(unchanged.known.article_url, unchanged.known.content_hash)
        self._counts.unchanged += 1
        self._counts.not_modified += 1
        self._pages[key_of(unchanged.page_url)] = {"seen": now()}
        await self._flush_pages(PAGES)

    def refuse(self, url: str, reason: str) -> None:
        """Record that a page has no article, with the reason."""
        self._counts.refused[reason] += 1
        if key_of(url) in self.forgotten:
            return
        self._pages[key_of(url)] = {
            "url": url,
            "source": self._source.name,
            "article": None,
            "refused": reason,
            "etag": None,
            "modified": None,
            "links": None,
            "seen": now(),
        }

    async def flush(self) -> None:
        """Write all added articles now."""
        async with self._writing:
            self._flushed = time.monotonic()
            batch, self._batch = self._batch, []
            if batch and not self.failure:
                await self._guarded(lambda: self._write(batch))

    async def _flush_pages(self, enough: int) -> None:
        async with self._writing:
            pages, self._pages = (self._pages, {}) if len(self._pages) >= enough else ({}, self._pages)
            if pages and not self.failure:
                await self._guarded(lambda: self._store.write_pages(pages))

    async def _guarded(self, write: Callable[[], Any]) -> None:
        try:
            await write()
        except PyMongoError as error:
            self.failure = store_stopped(error, self._counts.articles)
            self._on_failure()

    async def _write(self, batch: list[Found]) -> None:
        """Write the articles first, then their pages: no page may count as known before its article is stored."""
        fresh = repeated_in(each.paragraphs for each in batch) - self._repeated
        self._repeated |= fresh
        taken: list[Found] = []
        for each in batch:
            found = replace(each, article=without(each.article, fresh)) if fresh else each
            if count(found.article.text) < self._min_words:
                self.refuse(found.page.url or found.article.url, REFUSED)
            else:
                taken.append(found)
        extra = {each.article.key: {"paragraphs": list(each.paragraphs)} for each in taken}
        articles = [each.article for each in taken]
        self._cleaned = False
        self._counts.add(await self._store.write(articles, self._configured, extra))
        self._counts.words += [count(article.text) for article in articles]
        await self._store.write_pages(
            {
                key_of(each.page.url): each.page.document(self._source.name, each.article.key, each.article.fetched)
                for each in taken
                if each.page.url and each.article.key not in self.forgotten
            }
        )

    async def finish(self) -> None:
        """Write everything, including pages that waited for a better copy, and remove repeated text."""
        if self.complete:
            self._batch += self._duplicates.rest()
        for url in self._duplicates.dropped:
            self.refuse(url, "duplicate")
        self._duplicates.dropped.clear()
        await self.flush()
        await self._flush_pages(1)
        if not self.failure and not self._cleaned:
            await self._guarded(self._clean)

    async def _clean(self) -> None:
        name = self._source.name
        self._repeated = await clean(self._store, name, self._repeated, self._configured, self._min_words)
        self._cleaned = True
