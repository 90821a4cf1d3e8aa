"""The items that the spider passes to the pipeline."""

import zlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from textmill.articles.article import Article


@dataclass(frozen=True, slots=True)
class PageRecord:
    """A page's record, so that the next crawl can ask whether the page has changed.

    Attributes:
        url: normalised URL of the response; the article's can differ.
        etag: the response's ETag (RFC 9110, 8.8.3), unchanged.
        modified: the response's Last-Modified, unchanged.
        links: the pages that it links to, because a 304 response has no body to read them from.
        rules: a hash of the settings used to extract the article, and of what the site says of the page.
        rights: a hash of the headers that say what may be done with the text.
    """

    url: str
    etag: str | None = None
    modified: str | None = None
    links: tuple[str, ...] = ()
    rules: str = ""
    rights: str = ""

    def document(self, source: str, article: str, fetched: datetime) -> dict[str, Any]:
        """The MongoDB document; `article` is the key of the page's article."""
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
            "rights": self.rights,
            "fetched": fetched,
            "seen": fetched,
        }


@dataclass(frozen=True, slots=True)
class Known:
    """A page from an earlier crawl whose article is still in the store."""

    article_url: str
    content_hash: str
    etag: str | None
    modified: str | None
    links: tuple[str, ...]
    rules: str
    source: str
    fetched: datetime
    rights: str = ""

    @classmethod
    def of(cls, page: dict[str, Any], article: dict[str, Any]) -> "Known":
        """Create it from the documents of a page and its article."""
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
            rights=page.get("rights", ""),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """An article extracted from a page."""

    article: Article
    is_alias: bool = False  # the page says that another one, which the crawl asks for too, is the article's own
    page: PageRecord = field(default_factory=lambda: PageRecord(""))
    paragraphs: tuple[int, ...] = ()  # hashes of the paragraphs as extracted, which tell what a site repeats


@dataclass(frozen=True, slots=True)
class NotModified:
    """A page with status 304 (not modified)."""

    page_url: str
    known: Known
