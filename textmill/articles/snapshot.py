"""A snapshot: a record of the store at one time, to read it again and verify it."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

_DIGEST_SPACE = 1 << 256


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot's record, one document of `snapshots`."""

    number: int
    time: datetime
    articles: int
    sources: dict[str, int] = field(default_factory=dict)  # articles per source
    filters: dict[str, Any] = field(default_factory=dict)
    digest: str = ""  # of keys and content hashes, in any order
    metadata: str = ""  # the same of what pages say about their texts; empty if no version records that

    def document(self) -> dict[str, Any]:
        """The record as a MongoDB document."""
        document = asdict(self)
        document["_id"] = document.pop("number")
        # a source's name may hold dots, which MongoDB would read as a path
        document["sources"] = [{"source": name, "articles": count} for name, count in sorted(self.sources.items())]
        return document

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Snapshot":
        """Create the record from a document of `snapshots`."""
        values = {name: value for name, value in document.items() if name != "_id"}
        values["sources"] = {entry["source"]: entry["articles"] for entry in document["sources"]}
        return cls(number=document["_id"], **values)


def digest_term(key: str, content_hash: str) -> int:
    """One article's term of a snapshot's digest.

    Terms are added modulo 2**256 (AdHash, Bellare and Micciancio 1997), so ranges can be read in any order.
    """
    return int.from_bytes(hashlib.sha256(f"{key}:{content_hash}".encode()).digest())


def digest_of(terms: Iterable[int]) -> str:
    """The sum of digest terms, 64 hex digits."""
    return f"{sum(terms) % _DIGEST_SPACE:064x}"


def key_ranges(parts: int) -> list[tuple[str, str]]:
    """Split the key space into `parts` half-open ranges of even size."""
    edges = [f"{i * 0x10000 // parts:04x}" for i in range(parts)] + ["g"]  # 'g' sorts after every hex digit
    return list(pairwise(edges))
