"""Articles in MongoDB: immutable versions, one current version per canonical URL, and snapshots of them all.

Two collections carry them. `articles` has one document per canonical URL with the state of its crawl;
`article_versions` has every text an article ever had, each with the time from which it held. A version is written
before the article points at it, so a crawl killed between the two loses nothing and repeats nothing.
`snapshots` records what the store held at one time; a run reads exactly that, however the store has moved on.
`forgotten` has the keys of articles whose text was taken out; they are not stored again.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from pymongo import ASCENDING, MongoClient, UpdateOne
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from textmill.environment import without_password
from textmill.errors import UserError

ANSWER_WITHIN_S = 3  # how long a store may take to answer; with the start of a command, a person waits five seconds
LATEST = {"key": 1, "content_hash": 1, "source": 1}  # of a version: what a write has to know
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
    robots: str = "allowed"  # what robots.txt, meta elements and X-Robots-Tag say: 'allowed, noai'
    licence: str | None = None  # as the page or the configuration names it
    reserved: str | None = None  # where rights are reserved from mining (TDMRep, RSL): by what, and the terms' address

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
    forgotten: int = 0  # not stored, as their text was taken out before


@dataclass(frozen=True, slots=True)
class Writes:
    """What has to be written for a batch of articles, in this order."""

    versions: list[UpdateOne]
    closing: dict[str, Any]  # the former versions that end with these
    time: datetime
    articles: list[UpdateOne]
    counts: UpsertCounts


def writes_for(
    batch: Iterable[Article],
    latest: Mapping[str, Mapping[str, Any]],
    forgotten: Iterable[Mapping[str, Any]],
    configured: Collection[str] = (),
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> Writes:
    """What makes the store hold these articles: a version for each new text, and for each text whose source was renamed.

    An article that two configured sources reach stays with the one that stored it first. A source that is no longer
    configured was renamed or given up: its articles go over to the source that brings them now.

    Args:
        latest: by key, the last version's `content_hash` and `source`.
        forgotten: documents that `forgotten_query` finds for the batch.
        configured: names of the sources that keep what they have.
        extra: by key, further fields of the article's document.
    """
    articles: dict[str, Article] = {}
    left_out: set[str] = set()
    gone = {value for each in forgotten for value in (each["_id"], *each.get("texts", ()))}
    for article in batch:
        former = latest.get(article.key)
        if article.key in gone or article.content_hash in gone:
            left_out.add(article.key)
            continue
        stays = former is not None and former["source"] in configured
        articles[article.key] = replace(article, source=former["source"]) if former and stays else article
    time = now()
    texts = [a for key, a in articles.items() if key not in latest or latest[key]["content_hash"] != a.content_hash]
    moved = [
        a
        for key, a in articles.items()
        if key in latest and latest[key]["content_hash"] == a.content_hash and latest[key]["source"] != a.source
    ]
    written = [*texts, *moved]
    new = sum(a.key not in latest for a in texts)
    return Writes(
        versions=[
            UpdateOne(
                {"key": a.key, "valid_from": time},
                {"$setOnInsert": {**asdict(a), "content_hash": a.content_hash, "valid_to": None}},
                upsert=True,
            )
            for a in written
        ],
        closing={"key": {"$in": [a.key for a in written]}, "valid_from": {"$lt": time}, "valid_to": None},
        time=time,
        articles=[
            UpdateOne(
                {"_id": key},
                {
                    "$set": {
                        "source": a.source,
                        "content_hash": a.content_hash,
                        "fetched": a.fetched,
                        **(extra or {}).get(key, {}),
                    },
                    "$setOnInsert": {"url": a.url, "first_fetched": a.fetched},
                },
                upsert=True,
            )
            for key, a in articles.items()
        ],
        counts=UpsertCounts(new, len(texts) - new, len(articles) - len(texts), len(left_out)),
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store held at one time: enough to read it again and to prove that it is the same."""

    number: int
    time: datetime
    articles: int
    sources: dict[str, int] = field(default_factory=dict)  # articles per source
    filters: dict[str, Any] = field(default_factory=dict)
    digest: str = ""  # of keys and content hashes, in any order


def forgotten_query(batch: Collection[Article]) -> dict[str, Any]:
    """Finds what forbids to store some of these: their keys, or their texts under other addresses."""
    keys, texts = [article.key for article in batch], [article.content_hash for article in batch]
    return {"$or": [{"_id": {"$in": keys}}, {"texts": {"$in": texts}}]}


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
        self.forgotten = database["forgotten"]
        self.pages = database["pages"]
        self.sources = database["sources"]
        self.crawls = database["crawls"]

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
            store.pages.create_index([("source", ASCENDING), ("refused", ASCENDING)])
            store.pages.create_index([("article", ASCENDING)])
            store.crawls.create_index([("source", ASCENDING), ("started", ASCENDING)])
        except (PyMongoError, ValueError) as error:  # ValueError: the address itself is wrong
            raise UserError(
                f"The article store at {without_password(uri)} does not answer ({type(error).__name__}); "
                "start it with 'textmill up' or set TEXTMILL_MONGODB_URI."
            ) from error
        return store

    def upsert(self, batch: Sequence[Article], configured: Collection[str] = ()) -> UpsertCounts:
        """Store each article whose text is new or has changed; the others cost two queries for the batch."""
        keys = [article.key for article in batch]
        writes = writes_for(batch, self._latest(keys), self.forgotten.find(forgotten_query(batch)), configured)
        if writes.versions:
            self.versions.bulk_write(writes.versions, ordered=False)
            self.versions.update_many(writes.closing, {"$set": {"valid_to": writes.time}})
        if writes.articles:
            self.articles.bulk_write(writes.articles, ordered=False)
        return writes.counts

    def _latest(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        cursor = self.versions.find({"key": {"$in": keys}}, LATEST).sort("valid_from", ASCENDING)
        return {version["key"]: version for version in cursor}

    def take_snapshot(self, sources: Sequence[str] = ()) -> Snapshot:
        """Record what the store holds now; where it holds what it held at a former one, return that one.

        Quarantined sources are left out.

        Raises:
            UserError: every one of these sources is quarantined.
        """
        time = now() - timedelta(milliseconds=1)  # a batch being written this very millisecond belongs to the next one
        filters = {"sources": self._not_quarantined(sources)}
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

    def quarantined(self) -> dict[str, str]:
        """Sources that export leaves out until somebody has looked at them, each with its reason."""
        return {each["_id"]: each["quarantine"]["reason"] for each in self.sources.find({"quarantine": {"$ne": None}})}

    def _not_quarantined(self, sources: Sequence[str]) -> list[str]:
        quarantined = self.quarantined()
        if not quarantined:
            return sorted(sources)
        kept = sorted(set(sources or self.versions.distinct("source")) - set(quarantined))
        if not kept:
            name, reason = next(iter(quarantined.items()))
            raise UserError(
                f"Every source is quarantined ('{name}': {reason}); look at it with 'textmill sources', "
                f"then 'textmill sources --release {name}'."
            )
        return kept

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
        """Stream a snapshot's articles whose key lies in the half-open range, in the order of their keys.

        Raises:
            UserError: one of them has been forgotten since.
        """
        for version in self._versions_at(snapshot.time, snapshot.filters, keys=keys):
            if version.get("forgotten"):
                raise UserError(
                    f"Snapshot {snapshot.number} held an article that was forgotten on {version['forgotten']:%Y-%m-%d} "
                    f"(key {version['key']}), so it cannot be read again; 'textmill run' takes a fresh one."
                )
            # versions written before a field existed lack it
            yield Article(**{name: version[name] for name in Article.__dataclass_fields__ if name in version})

    def contents(self, snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
        """Stream key, content hash and source of a snapshot's articles, in the order of their keys; no texts are read."""
        names = ("key", "content_hash", "source")
        for version in self._versions_at(snapshot.time, snapshot.filters, projection=names):
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
