"""Forget an article: delete its text, keep its key, name the snapshots that held it."""

from dataclasses import dataclass, field
from typing import Any

from textmill.articles.article import body_hash, key_of, now
from textmill.articles.pasted_address import spellings
from textmill.articles.store import ArticleStore

_TEXT = ("url", "title", "text", "author")  # of a version: what must go; the rest proves what a snapshot held
_HELD = {"key": 1, "valid_from": 1, "valid_to": 1, "source": 1, "content_hash": 1}


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The result of forgetting an article.

    Attributes:
        versions: number of deleted texts.
        snapshots: numbers of the snapshots that held one of them.
        copies: addresses of other articles with the same text, forgotten with it.
        known: whether the store has, or once had, an article of this address.
    """

    url: str
    versions: int
    snapshots: list[int]
    copies: list[str] = field(default_factory=list)
    known: bool = True


def forget(store: ArticleStore, url: str) -> Forgotten:
    """Delete an article's texts but keep its key, so that no crawl or import adds it again.

    The address may be written as a person pastes it, and be the article's own or that of a page it came from. Articles
    that now have the same text under another address or title are forgotten too; of those that had it once, that version
    is. An address that is not in the store is blocked
    from now on. A second call changes nothing.
    """
    found, time = _find(store, url), now()
    key = key_of(found)
    known = store.versions.find_one({"key": key}, {"_id": 1}) is not None
    bodies = [each["text"] for each in store.versions.find({"key": key, "text": {"$ne": None}}, {"text": 1})]
    bodies = [text for text in bodies if text.strip()]
    same = {"text": {"$in": bodies}, "key": {"$ne": key}, "valid_to": None}
    copies = {each["key"]: each["url"] for each in store.versions.find(same, {"key": 1, "url": 1})} if bodies else {}
    keys = [key, *sorted(copies)]
    pages = [page["_id"] for page in store.pages.find({"article": {"$in": keys}}, {"_id": 1})]
    held = list(store.versions.find({"key": {"$in": keys}}, _HELD))
    texts = sorted({version["content_hash"] for version in held})  # so that a copy elsewhere does not bring it back
    marks = {"texts": {"$each": texts}, "bodies": {"$each": sorted(map(body_hash, bodies))}}
    blocked = {key_of(url), *([] if known else map(key_of, spellings(url)))}
    for each in {*keys, *blocked, *pages}:  # first, so that a crawl under way stores it no more
        update = {"$setOnInsert": {"time": time, "article": key}, "$addToSet": marks}
        store.forgotten.update_one({"_id": each}, update, upsert=True)
    store.versions.update_many({"key": {"$in": keys}, "valid_to": None}, {"$set": {"valid_to": time}})
    # of another article that had the same text once, that version goes alone
    gone = store.versions.update_many(
        {"$or": [{"key": {"$in": keys}}, {"text": {"$in": bodies}}], "forgotten": None},
        {"$set": {"forgotten": time, "published": None}, "$unset": dict.fromkeys(_TEXT, "")},
    )
    store.articles.delete_many({"_id": {"$in": keys}})
    store.pages.delete_many({"_id": {"$in": [*keys, key_of(url), *pages]}})
    snapshots = [s["_id"] for s in store.snapshots.find().sort("_id") if any(_was_in(version, s) for version in held)]
    return Forgotten(found, gone.modified_count, snapshots, sorted(copies.values()), known)


def _find(store: ArticleStore, url: str) -> str:
    """The article's own address: as given, in another spelling, or from the page's record."""
    for each in spellings(url):
        if store.versions.find_one({"key": key_of(each)}, {"_id": 1}):
            return each
        page = store.pages.find_one({"_id": key_of(each)}, {"article": 1})
        article = (
            store.articles.find_one({"_id": page["article"]}, {"url": 1}) if page and page.get("article") else None
        )
        if article:
            return str(article["url"])
    return spellings(url)[0]


def _was_in(version: dict[str, Any], snapshot: dict[str, Any]) -> bool:
    sources = snapshot["filters"].get("sources")
    began = bool(version["valid_from"] <= snapshot["time"])
    return (
        began
        and (not version["valid_to"] or version["valid_to"] > snapshot["time"])
        and (not sources or version["source"] in sources)
    )
