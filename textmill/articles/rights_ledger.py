"""The rights of each source's articles: how many training may use, how many are reserved, by which sign, since when."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from textmill.articles.selection import NO_TRAINING, Selection
from textmill.articles.store import ArticleStore

_READ = {"source": 1, "robots": 1, "licence": 1, "reserved": 1, "valid_from": 1}


@dataclass(slots=True)
class Sign:
    """One way in which a source's articles are reserved."""

    articles: int
    since: datetime  # when the oldest of these articles' current versions was stored


@dataclass(slots=True)
class SourceRights:
    """The rights of one source's current articles."""

    source: str
    articles: int = 0
    admitted: int = 0  # by `corpus.admit`
    signs: dict[str, Sign] = field(default_factory=dict)
    licences: dict[str, int] = field(default_factory=dict)


def ledger(store: ArticleStore, selection: Selection) -> list[SourceRights]:
    """The rights of every source, by name."""
    sources: dict[str, SourceRights] = {}
    for version in store.versions.find({"valid_to": None}, _READ).sort("valid_from", 1):
        rights = sources.setdefault(version["source"], SourceRights(version["source"]))
        rights.articles += 1
        rights.admitted += selection.permits(
            version.get("robots") or "allowed", version.get("licence"), version.get("reserved")
        )
        for name in signs_of(version.get("robots") or "", version.get("reserved")):
            sign = rights.signs.setdefault(name, Sign(0, version["valid_from"]))
            sign.articles += 1
        if licence := version.get("licence"):
            rights.licences[licence] = rights.licences.get(licence, 0) + 1
    return [rights for _, rights in sorted(sources.items())]


def signs_of(robots: str, reserved: str | None) -> Iterator[str]:
    """The signs by which an article is reserved, without the addresses of their terms."""
    for word in sorted({word.strip() for word in robots.split(",")} & NO_TRAINING):
        yield f"robots {word}"
    for part in filter(None, (reserved or "").split("; ")):
        kind = part.partition(" ")[0]
        yield kind if kind in ("TDMRep", "RSL") else part
