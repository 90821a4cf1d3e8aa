"""One article: a text with its origin, and the key of all its records."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


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

    @property
    def metadata_hash(self) -> str:
        """SHA-256 of what the page says about the text: author, language, date and what may be done with it."""
        return metadata_hash({name: getattr(self, name) for name in METADATA})


def body_hash(text: str) -> str:
    """SHA-256 of a text without its title and its spaces: the same for a copy under another title."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


METADATA = ("author", "language", "published", "robots", "licence", "reserved")
_UNSAID: dict[str, Any] = {"robots": "allowed"}  # versions written before a field existed lack it


def metadata_hash(values: Mapping[str, Any]) -> str:
    """The hash of these fields, for an article or a stored version."""
    said = [values.get(name, _UNSAID.get(name)) for name in METADATA]
    return hashlib.sha256(json.dumps([_plain(each) for each in said]).encode()).hexdigest()


def _plain(value: Any) -> Any:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value  # MongoDB keeps milliseconds
