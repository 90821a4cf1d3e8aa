"""List the snapshots of a store, and compare two of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from textmill.articles.snapshot import Snapshot
from textmill.articles.store import ArticleStore

Content = tuple[str, str, str]  # key, content hash, source


@dataclass(slots=True)
class Change:
    """The changes of one source's articles between two snapshots."""

    added: int = 0
    removed: int = 0
    changed: int = 0


def every(store: ArticleStore) -> list[Snapshot]:
    """All snapshots of a store, by number."""
    return [store.snapshot(found["_id"]) for found in store.snapshots.find({}, {"_id": 1}).sort("_id")]


def diff(store: ArticleStore, before: Snapshot, after: Snapshot) -> dict[str, Change]:
    """Count the articles added, removed and changed per source between two snapshots.

    An article that moved to another source is removed from the old one and added to the new one.
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
    """Pair two streams by key, both in key order; None if one lacks the key."""
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
    """Format a list of snapshots, line by line."""
    yield f"{'number':>6}  {'taken (UTC)':19}  {'articles':>9}  {'sources':>7}  digest"
    for each in snapshots:
        yield f"{each.number:>6}  {each.time:%Y-%m-%d %H:%M:%S}  {each.articles:>9,}  {len(each.sources):>7}  {each.digest[:12]}"


def changes_table(changes: dict[str, Change]) -> Iterator[str]:
    """Format the changes of each source and their total, line by line."""
    width = max(len("all sources"), *map(len, changes))
    yield f"{'source':{width}}  {'added':>9}  {'removed':>9}  {'changed':>9}"
    total = Change(*(sum(getattr(each, name) for each in changes.values()) for name in Change.__slots__))
    for name, each in [*changes.items(), ("all sources", total)]:
        yield f"{name:{width}}  {each.added:>9,}  {each.removed:>9,}  {each.changed:>9,}"
