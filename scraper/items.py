"""What the spider hands to the pipeline."""

import zlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from textmill.articles.article import Article


@dataclass(frozen=True, slots=True)
class PageRecord:
    """What is kept of a page that gave an article, so that the next crawl can ask whether it has changed.

    Attributes:
        url: normalised URL of the response, which need not be the article's.
        etag: validator of the answer (RFC 9110, 8.8.3), as it stands.
        modified: its Last-Modified, as it stands.
        links: the pages that it links to; they are not to be had from an answer without a body.
        rules: a hash of the settings that the article was taken by.
    """

    url: str
    etag: str | None = None
    modified: str | None = None
    links: tuple[str, ...] = ()
    rules: str = ""

    def document(self, source: str, article: str, fetched: datetime) -> dict[str, Any]:
        """As MongoDB keeps it; `article` is the key of what it gave."""
        validated = bool(self.etag or self.modified)
        return {
            "url": self.url,
            "source": source,
            "article": article,
            "refused": None,
            "etag": self.etag,
            "modified": self.modified,
            "links": zlib.compress("\n".join(self.links).encode()) if validated and self.links else None,
            "rules": self.rules,
            "fetched": fetched,
            "seen": fetched,
        }


@dataclass(frozen=True, slots=True)
class Known:
    """A page as an earlier crawl met it, whose article the store still has."""

    article_url: str
    content_hash: str
    etag: str | None
    modified: str | None
    links: tuple[str, ...]
    rules: str
    source: str
    fetched: datetime

    @classmethod
    def of(cls, page: dict[str, Any], article: dict[str, Any]) -> "Known":
        """From the documents of a page and of its article."""
        links = zlib.decompress(page["links"]).decode().split("\n") if page.get("links") else []
        return cls(
            article_url=article["url"],
            content_hash=article["content_hash"],
            etag=page.get("etag"),
            modified=page.get("modified"),
            links=tuple(links),
            rules=page.get("rules", ""),
            source=article["source"],
            fetched=page["fetched"],
        )


@dataclass(frozen=True, slots=True)
class Found:
    """An article as a page gave it."""

    article: Article
    is_alias: bool = False  # the page says that another one, which the crawl asks for too, is the article's own
    page: PageRecord = field(default_factory=lambda: PageRecord(""))
    paragraphs: tuple[int, ...] = ()  # hashes of the paragraphs as extracted, which tell what a site repeats


@dataclass(frozen=True, slots=True)
class NotModified:
    """A page that answered with status 304."""

    page_url: str
    known: Known
