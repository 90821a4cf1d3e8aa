"""One article: a text with its origin, and the key of all its records."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime


def key_of(url: str) -> str:
    """An article's key: 32 hex digits of its canonical URL's SHA-256. Ranges of keys have even sizes."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def now() -> datetime:
    """The time in UTC, truncated to MongoDB's milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class Article:
    """One text with its origin and the site's terms of use."""

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
        """SHA-256 of title and text. Equal hashes mean equal content."""
        return hashlib.sha256(f"{self.title}\n\n{self.text}".encode()).hexdigest()
