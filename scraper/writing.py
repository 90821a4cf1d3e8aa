"""Articles on their way to the store: without copies, in batches, beside the crawl."""

import asyncio
from collections.abc import Callable

from pymongo.errors import PyMongoError

from scraper.counts import CrawlCounts
from scraper.duplicates import Duplicates
from scraper.items import Found
from textmill.articles import Article, ArticleStore
from textmill.errors import UserError

BATCH = 50  # articles in one write: a crawl that is killed loses no more


def store_stopped(error: PyMongoError, articles: int) -> UserError:
    """The store, which answered at first, no longer does."""
    return UserError(
        f"The article store stopped answering ({type(error).__name__}) after {articles} articles; "
        "see that it runs, then crawl again: what is stored stays."
    )


def stored_texts(store: ArticleStore, source: str) -> dict[str, str]:
    """Content hash to URL of what the store has of a source; where several URLs have the same text, the least.

    Raises:
        UserError: the store does not answer.
    """
    texts: dict[str, str] = {}
    try:
        for document in store.articles.find({"source": source}, {"url": 1, "content_hash": 1}):
            known = texts.get(document["content_hash"])
            texts[document["content_hash"]] = min(known or document["url"], document["url"])
    except PyMongoError as error:
        raise store_stopped(error, 0) from error
    return texts


class ArticleWriter:
    """Writes one crawl's articles.

    Attributes:
        complete: whether the crawl has met every page; where not, a page that waits for a better copy of itself is
            left for the next crawl.
        failure: why the store takes no more, or None.
    """

    def __init__(
        self, store: ArticleStore, duplicates: Duplicates, counts: CrawlCounts, on_failure: Callable[[], None]
    ) -> None:
        """Start writing.

        Args:
            on_failure: called once, when the store fails.
        """
        self._store = store
        self._duplicates = duplicates
        self._counts = counts
        self._on_failure = on_failure
        self._batch: list[Article] = []
        self._writing = asyncio.Lock()
        self.complete = True
        self.failure: UserError | None = None

    async def add(self, found: Found) -> None:
        """Take an article, and write the batch that it fills."""
        article = self._duplicates.keep(found)
        if article:
            self._batch.append(article)
        if len(self._batch) >= BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Write what has been taken so far."""
        async with self._writing:
            batch, self._batch = self._batch, []
            if not batch or self.failure:
                return
            try:
                self._counts.add(await asyncio.to_thread(self._store.upsert, batch))
            except PyMongoError as error:
                self.failure = store_stopped(error, self._counts.articles)
                self._on_failure()

    async def finish(self) -> None:
        """Write everything, also what waited for a better copy."""
        if self.complete:
            self._batch += self._duplicates.rest()
        self._counts.refused["duplicate"] += self._duplicates.dropped
        self._duplicates.dropped = 0
        await self.flush()
