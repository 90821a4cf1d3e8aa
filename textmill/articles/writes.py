"""The writes for a batch of articles, for PyMongo's synchronous and asynchronous clients."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pymongo import UpdateMany, UpdateOne

from textmill.articles.article import METADATA, Article, body_hash, metadata_hash, now

# of a version: what a write has to know
LATEST = dict.fromkeys(("key", "content_hash", "source", *METADATA), 1)


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """The changes that a batch of articles made to the store."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    forgotten: int = 0  # not stored, as their text was taken out before


@dataclass(frozen=True, slots=True)
class Writes:
    """The writes for a batch of articles, in this order."""

    versions: list[UpdateOne]
    closing: dict[str, Any]  # the former versions that end with these
    time: datetime
    articles: list[UpdateOne]
    shared: list[UpdateMany]  # texts that a later version now holds for those before it
    counts: UpsertCounts


def forgotten_query(batch: Collection[Article]) -> dict[str, Any]:
    """Query for records that forbid storing these articles, by key or by text."""
    keys, texts = [article.key for article in batch], [article.content_hash for article in batch]
    bodies = [body_hash(article.text) for article in batch]
    return {"$or": [{"_id": {"$in": keys}}, {"texts": {"$in": texts}}, {"bodies": {"$in": bodies}}]}


def writes_for(
    batch: Iterable[Article],
    latest: Mapping[str, Mapping[str, Any]],
    forgotten: Iterable[Mapping[str, Any]],
    configured: Collection[str] = (),
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> Writes:
    """The writes that store these articles: one version per new text, changed metadata or renamed source.

    An article that two configured sources reach stays with the one that stored it first. A source that is no longer
    configured counts as renamed or dropped: its articles move to the source that has them now.

    Args:
        latest: by key, the fields `LATEST` of the last version.
        forgotten: the documents that `forgotten_query` finds for the batch.
        configured: names of the sources that keep their articles.
        extra: by key, further fields of the article's document.
    """
    allowed, left_out = _allowed(batch, forgotten)
    articles = {each.key: _of_its_source(each, latest.get(each.key), configured) for each in allowed}
    news = {key: _news(article, latest.get(key)) for key, article in articles.items()}
    written = [article for key, article in articles.items() if news[key] != "nothing"]
    kinds = Counter(news.values())
    time = now()
    return Writes(
        versions=[_version(article, time) for article in written],
        closing={"key": {"$in": [each.key for each in written]}, "valid_from": {"$lt": time}, "valid_to": None},
        time=time,
        articles=[_state(article, (extra or {}).get(key, {})) for key, article in articles.items()],
        shared=[_shared(each, time) for each in written if news[each.key] in ("restated", "moved")],
        counts=UpsertCounts(
            kinds["new"], kinds["changed"] + kinds["restated"], kinds["moved"] + kinds["nothing"], left_out
        ),
    )


def _allowed(batch: Iterable[Article], forgotten: Iterable[Mapping[str, Any]]) -> tuple[list[Article], int]:
    """The articles that may be stored, and the number of the others."""
    gone = {value for each in forgotten for value in (each["_id"], *each.get("texts", ()), *each.get("bodies", ()))}
    allowed, left_out = [], set()
    for article in batch:
        if gone and not gone.isdisjoint((article.key, article.content_hash, body_hash(article.text))):
            left_out.add(article.key)
        else:
            allowed.append(article)
    return allowed, len(left_out)


def _of_its_source(article: Article, former: Mapping[str, Any] | None, configured: Collection[str]) -> Article:
    """The article, with the source that it stays with."""
    stays = former is not None and former["source"] in configured
    return replace(article, source=former["source"]) if former and stays else article


def _news(article: Article, former: Mapping[str, Any] | None) -> str:
    """Compare an article with its last version: `new`, `changed` text, `restated` metadata, `moved` source, `nothing`."""
    if former is None:
        return "new"
    if former["content_hash"] != article.content_hash:
        return "changed"
    if metadata_hash(former) != article.metadata_hash:
        return "restated"
    return "moved" if former["source"] != article.source else "nothing"


def _version(article: Article, time: datetime) -> UpdateOne:
    """Adds the version valid from this time. Idempotent."""
    hashes = {"content_hash": article.content_hash, "metadata_hash": article.metadata_hash}
    document = {**asdict(article), **hashes, "valid_to": None}
    return UpdateOne({"key": article.key, "valid_from": time}, {"$setOnInsert": document}, upsert=True)


def _shared(article: Article, time: datetime) -> UpdateMany:
    """Drops the text of former versions that the new one has too; reading them takes it from there."""
    same = {"key": article.key, "content_hash": article.content_hash, "valid_from": {"$lt": time}}
    return UpdateMany(same, {"$unset": {"text": ""}})


def _state(article: Article, further: Mapping[str, Any]) -> UpdateOne:
    """Sets the article's document in `articles`."""
    state = {"source": article.source, "content_hash": article.content_hash, "fetched": article.fetched, **further}
    first = {"url": article.url, "first_fetched": article.fetched}
    return UpdateOne({"_id": article.key}, {"$set": state, "$setOnInsert": first}, upsert=True)
