"""What the store held at one time: enough to read it again and to prove that it is the same."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

_DIGEST_SPACE = 1 << 256


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot's record, which is one document of `snapshots`."""

    number: int
    time: datetime
    articles: int
    sources: dict[str, int] = field(default_factory=dict)  # articles per source
    filters: dict[str, Any] = field(default_factory=dict)
    digest: str = ""  # of keys and content hashes, in any order

    def document(self) -> dict[str, Any]:
        """The record as MongoDB keeps it."""
        document = asdict(self)
        document["_id"] = document.pop("number")
        # a source's name may hold dots, which MongoDB would read as a path
        document["sources"] = [{"source": name, "articles": count} for name, count in sorted(self.sources.items())]
        return document

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Snapshot":
        """The record that a document of `snapshots` is."""
        values = {name: value for name, value in document.items() if name != "_id"}
        values["sources"] = {entry["source"]: entry["articles"] for entry in document["sources"]}
        return cls(number=document["_id"], **values)


def digest_term(key: str, content_hash: str) -> int:
    """One article's share of a snapshot's digest.

    Terms are added modulo 2**256 (AdHash, Bellare and Micciancio 1997), so ranges can be read in any order.
    """
    return int.from_bytes(hashlib.sha256(f"{key}:{content_hash}".encode()).digest())


def digest_of(terms: Iterable[int]) -> str:
    """The digest that digest terms add up to, 64 hex digits."""
    return f"{sum(terms) % _DIGEST_SPACE:064x}"


def key_ranges(parts: int) -> list[tuple[str, str]]:
    """Cut the space of keys into `parts` half-open ranges of even size."""
    edges = [f"{i * 0x10000 // parts:04x}" for i in range(parts)] + ["g"]  # 'g' sorts after every hex digit
    return list(pairwise(edges))
