"""The snapshots of a store, and what changed from one to another."""

from collections.abc import Iterator
from dataclasses import dataclass

from textmill.articles.snapshot import Snapshot
from textmill.articles.store import ArticleStore

Content = tuple[str, str, str]  # key, content hash, source


@dataclass(slots=True)
class Change:
    """What happened to one source's articles from one snapshot to another."""

    added: int = 0
    removed: int = 0
    changed: int = 0


def every(store: ArticleStore) -> list[Snapshot]:
    """All snapshots of a store, by number."""
    return [store.snapshot(found["_id"]) for found in store.snapshots.find({}, {"_id": 1}).sort("_id")]


def diff(store: ArticleStore, before: Snapshot, after: Snapshot) -> dict[str, Change]:
    """Per source, what the later snapshot has that the former had not, and the other way round.

    An article that went over to another source is removed from the one and added to the other.
    """
    changes: dict[str, Change] = {}
    for old, new in _side_by_side(store.contents(before), store.contents(after)):
        if old and new and old[2] == new[2]:
            if old[1] != new[1]:
                changes.setdefault(new[2], Change()).changed += 1
            continue
        if old:
            changes.setdefault(old[2], Change()).removed += 1
        if new:
            changes.setdefault(new[2], Change()).added += 1
    return dict(sorted(changes.items()))


def _side_by_side(
    ones: Iterator[Content], others: Iterator[Content]
) -> Iterator[tuple[Content | None, Content | None]]:
    """Pair two streams, each in the order of its keys, by key; None where one lacks it."""
    one, other = next(ones, None), next(others, None)
    while one or other:
        if other is None or (one and one[0] < other[0]):
            yield one, None
            one = next(ones, None)
        elif one is None or other[0] < one[0]:
            yield None, other
            other = next(others, None)
        else:
            yield one, other
            one, other = next(ones, None), next(others, None)


def table(snapshots: list[Snapshot]) -> Iterator[str]:
    """Lines that list snapshots."""
    yield f"{'number':>6}  {'taken (UTC)':19}  {'articles':>9}  {'sources':>7}  digest"
    for each in snapshots:
        yield f"{each.number:>6}  {each.time:%Y-%m-%d %H:%M:%S}  {each.articles:>9,}  {len(each.sources):>7}  {each.digest[:12]}"


def changes_table(changes: dict[str, Change]) -> Iterator[str]:
    """Lines that say what changed in each source, and in all."""
    width = max(len("all sources"), *map(len, changes))
    yield f"{'source':{width}}  {'added':>9}  {'removed':>9}  {'changed':>9}"
    total = Change(*(sum(getattr(each, name) for each in changes.values()) for name in Change.__slots__))
    for name, each in [*changes.items(), ("all sources", total)]:
        yield f"{name:{width}}  {each.added:>9,}  {each.removed:>9,}  {each.changed:>9,}"
