"""Articles in MongoDB: immutable versions, one current version per canonical URL, and snapshots of them all.

Two collections carry them. `articles` has one document per canonical URL with the state of its crawl;
`article_versions` has every text an article ever had, each with the time from which it held. A version is written
before the article points at it, so a crawl killed between the two loses nothing and repeats nothing.
`snapshots` records what the store held at one time; a run reads exactly that, however the store has moved on.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from pymongo import ASCENDING, MongoClient, UpdateOne
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from textmill.environment import without_password
from textmill.errors import UserError

ANSWER_WITHIN_S = 3  # how long a store may take to answer; with the start of a command, a person waits five seconds
_DIGEST_SPACE = 1 << 256


def key_of(url: str) -> str:
    """An article's key: 32 hex digits of its canonical URL's SHA-256, so that ranges of keys are of even size."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def now() -> datetime:
    """The time in UTC, cut to the millisecond that MongoDB keeps."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class Article:
    """One text with its origin and what the site says of its use."""

    url: str  # canonical
    source: str  # the configured site's name
    title: str
    text: str  # paragraphs separated by an empty line
    fetched: datetime
    author: str | None = None
    language: str | None = None  # ISO 639-1, as the page says
    published: datetime | None = None
    robots: str = "allowed"
    licence: str | None = None

    @property
    def key(self) -> str:
        return key_of(self.url)

    @property
    def content_hash(self) -> str:
        """SHA-256 of title and text: equal hashes mean there is nothing new to learn."""
        return hashlib.sha256(f"{self.title}\n\n{self.text}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """What a batch of articles did to the store."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store held at one time: enough to read it again and to prove that it is the same."""

    number: int
    time: datetime
    articles: int
    sources: dict[str, int] = field(default_factory=dict)  # articles per source
    filters: dict[str, Any] = field(default_factory=dict)
    digest: str = ""  # of keys and content hashes, in any order


def digest_term(key: str, content_hash: str) -> int:
    """One article's share of a snapshot's digest.

    Terms are added modulo 2**256 (AdHash, Bellare and Micciancio 1997), so ranges can be read in any order.
    """
    return int.from_bytes(hashlib.sha256(f"{key}:{content_hash}".encode()).digest())


def digest_of(terms: Iterable[int]) -> str:
    """The digest that digest terms add up to, 64 hex digits."""
    return f"{sum(terms) % _DIGEST_SPACE:064x}"


def key_ranges(parts: int) -> list[tuple[str, str]]:
    """Cut the space of keys into `parts` half-open ranges of even size."""
    edges = [f"{i * 0x10000 // parts:04x}" for i in range(parts)] + ["g"]  # 'g' sorts after every hex digit
    return list(pairwise(edges))


class ArticleStore:
    """The articles of one MongoDB database."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self.articles = database["articles"]
        self.versions = database["article_versions"]
        self.snapshots = database["snapshots"]

    @classmethod
    def connect(cls, uri: str, database: str) -> "ArticleStore":
        """Open the store and create its indexes.

        Raises:
            UserError: nothing answers at `uri` within three seconds; the address is named without its password.
        """
        wait_ms = ANSWER_WITHIN_S * 1000
        try:
            client: MongoClient[dict[str, Any]] = MongoClient(
                uri, tz_aware=True, serverSelectionTimeoutMS=wait_ms, connectTimeoutMS=wait_ms
            )
            store = cls(client[database])
            store.articles.create_index([("url", ASCENDING)], unique=True)
            store.articles.create_index([("source", ASCENDING)])
            store.versions.create_index([("key", ASCENDING), ("valid_from", ASCENDING)], unique=True)
        except (PyMongoError, ValueError) as error:  # ValueError: the address itself is wrong
            raise UserError(
                f"The article store at {without_password(uri)} does not answer ({type(error).__name__}); "
                "start it with 'textmill up' or set TEXTMILL_MONGODB_URI."
            ) from error
        return store

    def upsert(self, batch: Sequence[Article]) -> UpsertCounts:
        """Store each article whose text is new or has changed; the others cost one query for the batch."""
        articles = {article.key: article for article in batch}
        latest = self._latest_hashes(list(articles))
        time = now()
        changed = [a for key, a in articles.items() if latest.get(key) != a.content_hash]
        if changed:
            self.versions.bulk_write(
                [
                    UpdateOne(
                        {"key": a.key, "valid_from": time},
                        {"$setOnInsert": {**asdict(a), "content_hash": a.content_hash, "valid_to": None}},
                        upsert=True,
                    )
                    for a in changed
                ],
                ordered=False,
            )
            self.versions.update_many(
                {"key": {"$in": [a.key for a in changed]}, "valid_from": {"$lt": time}, "valid_to": None},
                {"$set": {"valid_to": time}},
            )
        if articles:
            self.articles.bulk_write(
                [
                    UpdateOne(
                        {"_id": key},
                        {
                            "$set": {"source": a.source, "content_hash": a.content_hash, "fetched": a.fetched},
                            "$setOnInsert": {"url": a.url, "first_fetched": a.fetched},
                        },
                        upsert=True,
                    )
                    for key, a in articles.items()
                ],
                ordered=False,
            )
        new = sum(a.key not in latest for a in changed)
        return UpsertCounts(new, len(changed) - new, len(articles) - len(changed))

    def _latest_hashes(self, keys: list[str]) -> dict[str, str]:
        cursor = self.versions.find({"key": {"$in": keys}}, {"key": 1, "content_hash": 1}).sort("valid_from", ASCENDING)
        return {version["key"]: version["content_hash"] for version in cursor}

    def take_snapshot(self, sources: Sequence[str] = ()) -> Snapshot:
        """Record what the store holds now; where it holds what it held at a former one, return that one."""
        time = now() - timedelta(milliseconds=1)  # a batch being written this very millisecond belongs to the next one
        filters = {"sources": sorted(sources)}
        counts: dict[str, int] = {}
        total = 0
        for version in self._versions_at(time, filters, projection=["key", "content_hash", "source"]):
            counts[version["source"]] = counts.get(version["source"], 0) + 1
            total = (total + digest_term(version["key"], version["content_hash"])) % _DIGEST_SPACE
        digest = digest_of([total])
        while True:
            if known := self.snapshots.find_one({"digest": digest, "filters": filters}, sort=[("_id", -1)]):
                return _snapshot(known)
            last = self.snapshots.find_one(sort=[("_id", -1)])
            snapshot = Snapshot((last["_id"] if last else 0) + 1, time, sum(counts.values()), counts, filters, digest)
            try:
                self.snapshots.insert_one(_document(snapshot))
            except DuplicateKeyError:  # another run took this number meanwhile
                continue
            return snapshot

    def snapshot(self, number: int) -> Snapshot:
        """The recorded snapshot with this number.

        Raises:
            UserError: there is none.
        """
        document = self.snapshots.find_one({"_id": number})
        if document is None:
            raise UserError(f"There is no snapshot {number} in this store; 'textmill run' takes one when it starts.")
        return _snapshot(document)

    def read(self, snapshot: Snapshot, keys: tuple[str, str] = ("0", "g")) -> Iterator[Article]:
        """Stream a snapshot's articles whose key lies in the half-open range, in the order of their keys."""
        for version in self._versions_at(snapshot.time, snapshot.filters, keys=keys):
            yield Article(**{name: version[name] for name in Article.__dataclass_fields__})

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
        """How many articles each source has."""
        groups = self.articles.aggregate(
            [{"$group": {"_id": "$source", "articles": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
        )
        return {group["_id"]: group["articles"] for group in groups}


def _document(snapshot: Snapshot) -> dict[str, Any]:
    document = asdict(snapshot)
    document["_id"] = document.pop("number")
    # a source's name may hold dots, which MongoDB would read as a path
    document["sources"] = [{"source": name, "articles": count} for name, count in sorted(snapshot.sources.items())]
    return document


def _snapshot(document: dict[str, Any]) -> Snapshot:
    document = dict(document)
    document["sources"] = {entry["source"]: entry["articles"] for entry in document["sources"]}
    return Snapshot(number=document.pop("_id"), **document)
