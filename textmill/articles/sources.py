"""What the store knows of its sources: how each was crawled, what was refused, and whether it is quarantined."""

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
    """One source: its articles, its last crawl, and what is usual for it.

    Attributes:
        last: the last crawl's document, with the counts of `scraper.storage.counts`; None where there was none.
        usual: articles of a crawl, the median of the earlier ones; None where there were none.
        quarantine: why export leaves it out, if it does.
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
    """Reason and URL of each page of a source that gave no article when it was last met."""
    query = {"source": name, "refused": {"$ne": None}}
    for page in store.pages.find(query, {"url": 1, "refused": 1}).sort([("refused", 1), ("url", 1)]):
        yield page["refused"], page["url"]


def release(store: ArticleStore, name: str) -> str:
    """Let a source out of quarantine and return what it was in for. What it brings next sets what is usual.

    Raises:
        UserError: it is not quarantined.
    """
    reason = store.quarantined().get(name)
    if reason is None:
        raise UserError(f"The source '{name}' is not quarantined; 'textmill sources' shows those that are.")
    store.sources.update_one({"_id": name}, {"$set": {"quarantine": None, "released": now()}})
    return reason
