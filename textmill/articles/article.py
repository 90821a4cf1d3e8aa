"""One text with its origin, and the key by which all that is kept of it is found."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime


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
