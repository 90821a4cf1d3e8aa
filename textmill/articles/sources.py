"""The state of each source: its last crawl, its refused pages, its quarantine."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from textmill.articles.article import now
from textmill.articles.store import ArticleStore
from textmill.ground.errors import UserError

_CRAWLS = 10  # of the past, that say what is usual


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source: its articles, its last crawl, and its usual number of articles.

    Attributes:
        last: the last crawl's document, with the counts of `scraper.storage.counts`; None before the first crawl.
        usual: median number of articles in earlier crawls; None without any.
        quarantine: the reason why export excludes it, or None.
    """

    name: str
    articles: int
    last: dict[str, Any] | None
    usual: float | None
    quarantine: str | None


def states(store: ArticleStore, names: list[str]) -> Iterator[SourceState]:
    """The state of each of these sources."""
    articles, quarantined = store.count_by_source(), store.quarantined()
    for name in names:
        crawls = list(store.crawls.find({"source": name}).sort("started", -1).limit(_CRAWLS + 1))
        former = [crawl["articles"] for crawl in crawls[1:] if crawl.get("complete")]
        yield SourceState(
            name,
            articles.get(name, 0),
            crawls[0] if crawls else None,
            median(former) if former else None,
            quarantined.get(name),
        )


def refused(store: ArticleStore, name: str) -> Iterator[tuple[str, str]]:
    """Reason and URL of each page of a source that had no article in its last crawl."""
    query = {"source": name, "refused": {"$ne": None}}
    for page in store.pages.find(query, {"url": 1, "refused": 1}).sort([("refused", 1), ("url", 1)]):
        yield page["refused"], page["url"]


def release(store: ArticleStore, name: str) -> str:
    """Release a source from quarantine and return the reason. Its next crawl sets the new usual.

    Raises:
        UserError: the source is not quarantined.
    """
    reason = store.quarantined().get(name)
    if reason is None:
        raise UserError(f"The source '{name}' is not quarantined; run 'textmill sources' to list those that are.")
    store.sources.update_one({"_id": name}, {"$set": {"quarantine": None, "released": now()}})
    return reason
