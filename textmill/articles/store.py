"""The article store: stores articles, takes and reads snapshots."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from textmill.articles.article import Article, now
from textmill.articles.database import database as open_database
from textmill.articles.snapshot import Snapshot, digest_of, digest_term
from textmill.articles.writes import LATEST, UpsertCounts, forgotten_query, writes_for
from textmill.ground.environment import MONGODB, address, without_password
from textmill.ground.errors import UserError

_BATCH = 100  # versions whose texts are read together
_HOLDING = {"key": 1, "content_hash": 1, "text": 1}


class ArticleStore:
    """The articles of one MongoDB database."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self.database = database
        self.articles = database["articles"]
        self.versions = database["article_versions"]
        self.snapshots = database["snapshots"]
        self.forgotten = database["forgotten"]
        self.pages = database["pages"]
        self.sources = database["sources"]
        self.crawls = database["crawls"]

    @classmethod
    def connect(cls, uri: str, database: str) -> "ArticleStore":
        """Open the store and create its indexes.

        Raises:
            UserError: `uri` does not answer within 3 seconds. The message omits the password.
        """
        try:
            store = cls(open_database(uri, database))
            store.create_indexes()
        except (PyMongoError, ValueError) as error:  # ValueError: the address itself is wrong
            raise UserError(
                f"The article store at {without_password(uri)} does not answer ({type(error).__name__}); "
                "start it with 'textmill up' or set TEXTMILL_MONGODB_URI."
            ) from error
        return store

    def create_indexes(self) -> None:
        """Create missing indexes."""
        self.articles.create_index([("url", ASCENDING)], unique=True)
        self.articles.create_index([("source", ASCENDING)])
        self.versions.create_index([("key", ASCENDING), ("valid_from", ASCENDING)], unique=True)
        self.pages.create_index([("source", ASCENDING), ("refused", ASCENDING)])
        self.pages.create_index([("article", ASCENDING)])
        self.crawls.create_index([("source", ASCENDING), ("started", ASCENDING)])

    def upsert(self, batch: Sequence[Article], configured: Collection[str] = ()) -> UpsertCounts:
        """Store articles with new or changed text or metadata. The others cost two queries for the batch."""
        keys = [article.key for article in batch]
        writes = writes_for(batch, self._latest(keys), self.forgotten.find(forgotten_query(batch)), configured)
        if writes.versions:
            self.versions.bulk_write(writes.versions, ordered=False)
            self.versions.update_many(writes.closing, {"$set": {"valid_to": writes.time}})
        if writes.shared:
            self.versions.bulk_write(writes.shared, ordered=False)
        if writes.articles:
            self.articles.bulk_write(writes.articles, ordered=False)
        return writes.counts

    def _latest(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        cursor = self.versions.find({"key": {"$in": keys}}, LATEST).sort("valid_from", ASCENDING)
        return {version["key"]: version for version in cursor}

    def take_snapshot(self, sources: Sequence[str] = ()) -> Snapshot:
        """Take a snapshot of the store. If an earlier one has the same content, return that one.

        Quarantined sources are excluded.

        Raises:
            UserError: all these sources are quarantined.
        """
        time = now() - timedelta(milliseconds=1)  # a batch being written this very millisecond belongs to the next one
        filters = {"sources": self._not_quarantined(sources)}
        counts: Counter[str] = Counter()
        total, said = 0, 0
        for version in self._versions_at(time, filters, projection=("key", "content_hash", "metadata_hash", "source")):
            counts[version["source"]] += 1
            total += digest_term(version["key"], version["content_hash"])
            if hashed := version.get("metadata_hash"):  # versions written before it existed lack it
                said += digest_term(version["key"], hashed)
        metadata = digest_of([said]) if said else ""
        return self._recorded(Snapshot(0, time, counts.total(), dict(counts), filters, digest_of([total]), metadata))

    def _recorded(self, snapshot: Snapshot) -> Snapshot:
        """Store the snapshot under the next number, or return the last one with the same content."""
        while True:
            metadata = snapshot.metadata or {"$in": [None, ""]}
            same = {"digest": snapshot.digest, "filters": snapshot.filters, "metadata": metadata}
            if known := self.snapshots.find_one(same, sort=[("_id", -1)]):
                return Snapshot.of(known)
            last = self.snapshots.find_one(sort=[("_id", -1)])
            numbered = replace(snapshot, number=(last["_id"] if last else 0) + 1)
            try:
                self.snapshots.insert_one(numbered.document())
            except DuplicateKeyError:  # another run took this number meanwhile
                continue
            return numbered

    def quarantined(self) -> dict[str, str]:
        """Sources that export excludes until they are released, each with its reason."""
        return {each["_id"]: each["quarantine"]["reason"] for each in self.sources.find({"quarantine": {"$ne": None}})}

    def _not_quarantined(self, sources: Sequence[str]) -> list[str]:
        quarantined = self.quarantined()
        if not quarantined:
            return sorted(sources)
        kept = sorted(set(sources or self.versions.distinct("source")) - set(quarantined))
        if not kept:
            name, reason = next(iter(quarantined.items()))
            raise UserError(
                f"Every source is quarantined ('{name}': {reason}); check it with 'textmill sources', "
                f"then 'textmill sources --release {name}'."
            )
        return kept

    def snapshot(self, number: int) -> Snapshot:
        """The recorded snapshot with this number.

        Raises:
            UserError: it does not exist.
        """
        found = self.find_snapshot(number)
        if found is None:
            raise UserError(f"Snapshot {number} is not in this store; run 'textmill snapshots' to list those that are.")
        return found

    def find_snapshot(self, number: int) -> Snapshot | None:
        """The recorded snapshot with this number, or None."""
        document = self.snapshots.find_one({"_id": number})
        return Snapshot.of(document) if document else None

    def read(self, snapshot: Snapshot, keys: tuple[str, str] = ("0", "g")) -> Iterator[Article]:
        """Stream a snapshot's articles in a half-open range of keys, in key order.

        Raises:
            UserError: one of them was forgotten since.
        """
        for version in self._with_texts(self._versions_at(snapshot.time, snapshot.filters, keys=keys)):
            if version.get("forgotten"):
                raise UserError(
                    f"Snapshot {snapshot.number} held an article that was forgotten on {version['forgotten']:%Y-%m-%d} "
                    f"(key {version['key']}), so it cannot be read again; run 'textmill run' to take a new one."
                )
            # versions written before a field existed lack it
            yield Article(**{name: version[name] for name in Article.__dataclass_fields__ if name in version})

    def _with_texts(self, versions: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Give versions whose text a later one holds that text."""
        while batch := list(islice(versions, _BATCH)):
            bare = [each["key"] for each in batch if "text" not in each]
            holding = self.versions.find({"key": {"$in": bare}, "text": {"$ne": None}}, _HOLDING) if bare else ()
            texts = {(each["key"], each["content_hash"]): each["text"] for each in holding}
            for version in batch:
                text = texts.get((version["key"], version["content_hash"]))
                yield version | ({"text": text} if text is not None and "text" not in version else {})

    def contents(self, snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
        """Stream key, content hash and source of a snapshot's articles, in key order, without reading texts."""
        return self._contents_at(snapshot.time, snapshot.filters)

    def _contents_at(self, time: datetime, filters: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        for version in self._versions_at(time, filters, projection=("key", "content_hash", "source")):
            yield version["key"], version["content_hash"], version["source"]

    def _versions_at(
        self,
        time: datetime,
        filters: dict[str, Any],
        projection: Sequence[str] | None = None,
        keys: tuple[str, str] = ("0", "g"),
    ) -> Iterator[dict[str, Any]]:
        query: dict[str, Any] = {
            "key": {"$gte": keys[0], "$lt": keys[1]},
            "valid_from": {"$lte": time},
            "$or": [{"valid_to": None}, {"valid_to": {"$gt": time}}],
        }
        if filters.get("sources"):
            query["source"] = {"$in": filters["sources"]}
        cursor = self.versions.find(query, projection).sort([("key", ASCENDING), ("valid_from", ASCENDING)])
        former: dict[str, Any] | None = None
        for version in cursor:
            # a crawl killed between writing a version and closing the one before it leaves both open: the later one holds
            if former is not None and former["key"] != version["key"]:
                yield former
            former = version
        if former is not None:
            yield former

    def count_by_source(self) -> dict[str, int]:
        """The number of articles of each source."""
        groups = self.articles.aggregate(
            [{"$group": {"_id": "$source", "articles": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
        )
        return {group["_id"]: group["articles"] for group in groups}

    def count(self, sources: Sequence[str]) -> int:
        """The number of articles of these sources."""
        return self.articles.count_documents({"source": {"$in": list(sources)}})

    def changed_since(self, sources: Sequence[str], time: datetime | None) -> int:
        """The number of these sources' articles that are new or changed since then; all if no time is given."""
        query: dict[str, Any] = {"source": {"$in": list(sources)}, "valid_to": None}
        if time is not None:
            query["valid_from"] = {"$gt": time}
        return self.versions.count_documents(query)

    def newest(self, sources: Sequence[str], since: datetime | None, most: int) -> list[str]:
        """The keys of these sources' articles first seen after that time, newest first."""
        query = {"source": {"$in": list(sources)}, "first_fetched": {"$gt": since}}
        found = self.articles.find(query, {"_id": 1}, sort=[("first_fetched", DESCENDING)], limit=most)
        return [each["_id"] for each in found]

    def current(self, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Stream the current texts of these articles, with `url`, `source`, `title` and `text`."""
        yield from self.versions.find({"key": {"$in": list(keys)}, "valid_to": None})


def article_store(database: str) -> ArticleStore:
    """Open the article store at TEXTMILL_MONGODB_URI, for Beam's workers."""
    return ArticleStore.connect(address(MONGODB), database)
