"""The store's write side for a crawl: asynchronous, in batches, with retries."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pymongo import ASCENDING, AsyncMongoClient, UpdateOne
from pymongo.errors import PyMongoError

from scraper.items import Known
from textmill.articles.article import Article, key_of, now
from textmill.articles.database import ANSWER_WITHIN_S
from textmill.articles.writes import LATEST, UpsertCounts, forgotten_query, writes_for

WAITS_S = (0.5, 1.0, 2.0)  # before a batch that failed is written again

Result = TypeVar("Result")


async def persistently(write: Callable[[], Awaitable[Result]]) -> Result:
    """Run a write and retry after failures. The write must be idempotent.

    Raises:
        PyMongoError: every attempt failed.
    """
    for wait in WAITS_S:
        try:
            return await write()
        except PyMongoError:
            await asyncio.sleep(wait)
    return await write()


class CrawlStore:
    """The collections of one database. Create it inside the event loop that uses it."""

    def __init__(self, uri: str, database: str) -> None:
        wait_ms = ANSWER_WITHIN_S * 1000
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            uri, tz_aware=True, serverSelectionTimeoutMS=wait_ms, connectTimeoutMS=wait_ms, socketTimeoutMS=60_000
        )
        found = self._client[database]
        self.articles, self.versions = found["articles"], found["article_versions"]
        self.pages, self.forgotten = found["pages"], found["forgotten"]
        self.sources, self.crawls = found["sources"], found["crawls"]

    async def close(self) -> None:
        await self._client.close()

    async def texts(self, source: str) -> dict[str, str]:
        """A source's stored articles: content hash to URL. For several URLs with the same text, the lowest."""
        texts: dict[str, str] = {}
        async for document in self.articles.find({"source": source}, {"url": 1, "content_hash": 1}):
            known = texts.get(document["content_hash"])
            texts[document["content_hash"]] = min(known or document["url"], document["url"])
        return texts

    async def forgotten_keys(self) -> set[str]:
        return {each["_id"] async for each in self.forgotten.find({}, {"_id": 1})}

    async def known(self, url: str) -> Known | None:
        """The stored record of a page, if its article is still in the store."""
        page = await self.pages.find_one({"_id": key_of(url), "refused": None})
        article = await self.articles.find_one({"_id": page["article"]}) if page and page.get("article") else None
        return Known.of(page, article) if page and article else None

    async def write(
        self, batch: Iterable[Article], configured: Collection[str], extra: Mapping[str, Mapping[str, Any]]
    ) -> UpsertCounts:
        """Store articles like `ArticleStore.upsert`. Returns the changes, each counted once."""
        articles = list(batch)
        first: UpsertCounts | None = None

        async def attempt() -> None:
            nonlocal first
            keys = [article.key for article in articles]
            cursor = self.versions.find({"key": {"$in": keys}}, LATEST).sort("valid_from", ASCENDING)
            latest = {version["key"]: version async for version in cursor}
            forgotten = [each async for each in self.forgotten.find(forgotten_query(articles))]
            writes = writes_for(articles, latest, forgotten, configured, extra)
            first = first or writes.counts  # a second attempt finds part of it written
            if writes.versions:
                await self.versions.bulk_write(writes.versions, ordered=False)
                await self.versions.update_many(writes.closing, {"$set": {"valid_to": writes.time}})
            if writes.shared:
                await self.versions.bulk_write(writes.shared, ordered=False)
            if writes.articles:
                await self.articles.bulk_write(writes.articles, ordered=False)

        await persistently(attempt)
        return first or UpsertCounts()

    async def write_pages(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Store page records by their URL's key."""
        writes = [UpdateOne({"_id": key}, {"$set": dict(each)}, upsert=True) for key, each in documents.items()]
        if writes:
            await persistently(lambda: self.pages.bulk_write(writes, ordered=False))

    async def paragraphs(self, source: str) -> AsyncIterator[tuple[str, list[int]]]:
        """Key and paragraph hashes of every article of a source."""
        async for each in self.articles.find({"source": source}, {"paragraphs": 1}):
            yield each["_id"], each.get("paragraphs") or []

    async def current(self, keys: list[str]) -> list[Article]:
        """The current articles with these keys."""
        found: dict[str, dict[str, Any]] = {}
        async for version in self.versions.find({"key": {"$in": keys}, "valid_to": None}).sort("valid_from", ASCENDING):
            found[version["key"]] = version
        names = Article.__dataclass_fields__
        return [Article(**{name: each[name] for name in names if name in each}) for each in found.values()]

    async def withdraw(self, keys: list[str], reason: str, time: datetime) -> None:
        """End articles that turned out not to be articles; their pages count as refused."""
        still_open = {"key": {"$in": keys}, "valid_to": None}
        refused = {"$set": {"refused": reason, "article": None, "etag": None, "modified": None}}
        await persistently(lambda: self.versions.update_many(still_open, {"$set": {"valid_to": time}}))
        await persistently(lambda: self.pages.update_many({"article": {"$in": keys}}, refused))
        await persistently(lambda: self.articles.delete_many({"_id": {"$in": keys}}))

    async def repeated(self, source: str) -> set[int]:
        """Hashes of the paragraphs known to repeat on a source's pages."""
        state = await self.sources.find_one({"_id": source})
        return set(state.get("repeated", ())) if state else set()

    async def keep_repeated(self, source: str, hashes: Collection[int]) -> None:
        update = {"$set": {"repeated": sorted(hashes)}}
        await persistently(lambda: self.sources.update_one({"_id": source}, update, upsert=True))

    async def keep_crawl(self, source: str, values: Mapping[str, Any]) -> None:
        """Add one crawl to a source's history."""
        document = {"source": source, "ended": now(), **values}
        await persistently(lambda: self.crawls.insert_one(dict(document)))

    async def released(self, source: str) -> datetime | None:
        """When a source was last released from quarantine; earlier crawls no longer count as usual."""
        state = await self.sources.find_one({"_id": source})
        return state.get("released") if state else None

    async def history(self, source: str, since: datetime | None, limit: int) -> list[dict[str, Any]]:
        """The last completed crawls of a source, newest first."""
        query: dict[str, Any] = {"source": source, "complete": True}
        if since:
            query["started"] = {"$gt": since}
        return [each async for each in self.crawls.find(query).sort("started", -1).limit(limit)]

    async def quarantine(self, source: str, reason: str) -> None:
        update = {"$set": {"quarantine": {"reason": reason, "time": now()}}}
        await persistently(lambda: self.sources.update_one({"_id": source}, update, upsert=True))
