"""Forget an article: delete its text, keep its key, name the snapshots that held it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from textmill.articles.article import key_of, now
from textmill.articles.store import ArticleStore

_TEXT = ("url", "title", "text", "author")  # of a version: what must go; the rest proves what a snapshot held


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The result of forgetting an article.

    Attributes:
        versions: number of deleted texts.
        snapshots: numbers of the snapshots that held one of them.
    """

    url: str
    versions: int
    snapshots: list[int]


def forget(store: ArticleStore, url: str) -> Forgotten:
    """Delete an article's texts but keep its key, so that no crawl or import adds it again.

    The address may be the article's own or that of a page it came from. An address that is not in the store is blocked
    too. A second call changes nothing.
    """
    found = _find(store, url)
    key, time = key_of(found), now()
    pages = [page["_id"] for page in store.pages.find({"article": key}, {"_id": 1})]
    held = list(store.versions.find({"key": key}, {"valid_from": 1, "valid_to": 1, "source": 1, "content_hash": 1}))
    texts = sorted({version["content_hash"] for version in held})  # so that a copy elsewhere does not bring it back
    for each in {key, key_of(url), *pages}:  # first, so that a crawl under way stores it no more
        marks = {"$setOnInsert": {"time": time, "article": key}, "$addToSet": {"texts": {"$each": texts}}}
        store.forgotten.update_one({"_id": each}, marks, upsert=True)
    store.versions.update_many({"key": key, "valid_to": None}, {"$set": {"valid_to": time}})
    gone = store.versions.update_many(
        {"key": key, "forgotten": None},
        {"$set": {"forgotten": time, "published": None}, "$unset": dict.fromkeys(_TEXT, "")},
    )
    store.articles.delete_many({"_id": key})
    store.pages.delete_many({"_id": {"$in": [key, key_of(url), *pages]}})
    snapshots = [s["_id"] for s in store.snapshots.find().sort("_id") if any(_was_in(version, s) for version in held)]
    return Forgotten(found, gone.modified_count, snapshots)


def _find(store: ArticleStore, url: str) -> str:
    """The article's own address: as given, in another spelling, or from the page's record."""
    for each in _spellings(url):
        if store.versions.find_one({"key": key_of(each)}, {"_id": 1}):
            return each
        page = store.pages.find_one({"_id": key_of(each)}, {"article": 1})
        article = (
            store.articles.find_one({"_id": page["article"]}, {"url": 1}) if page and page.get("article") else None
        )
        if article:
            return str(article["url"])
    return _spellings(url)[0]


def _spellings(url: str) -> list[str]:
    """Spellings of one address: with http or https, with and without 'www.' and a trailing slash."""
    parts = urlsplit(url.strip())._replace(fragment="")
    host = parts.netloc.lower()
    hosts = [host, host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"]
    paths = [parts.path or "/", parts.path.rstrip("/") or "/", f"{parts.path.rstrip('/')}/"]
    schemes = [parts.scheme.lower(), "http" if parts.scheme.lower() == "https" else "https"]
    found = [
        urlunsplit((scheme, each, path, parts.query, "")) for scheme in schemes for each in hosts for path in paths
    ]
    return list(dict.fromkeys(found))


def _was_in(version: dict[str, Any], snapshot: dict[str, Any]) -> bool:
    sources = snapshot["filters"].get("sources")
    began = bool(version["valid_from"] <= snapshot["time"])
    return (
        began
        and (not version["valid_to"] or version["valid_to"] > snapshot["time"])
        and (not sources or version["source"] in sources)
    )
