"""Find exact and near-duplicate articles, in memory that does not grow with the corpus.

Signatures are split into bands, and articles that agree in a band are compared. Sorting and joining work on 16-byte rows
in files, one per key range, never on texts.

An article's number combines its key range and its place in it, so numbers are in key order. Of duplicates, the lowest
number stays.
"""

import mmap
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.corpus.content_cache import CONTENTS_AT_ONCE, ContentCache
from textmill.corpus.minhash import HASHES, signatures

_FOUND = 0.99  # share of the pairs at the threshold that shall meet in a band
_SIGNED_AT_ONCE = 1 << 20  # characters of texts that wait to be signed
_ROWS_AT_ONCE = 1 << 13
_ROUNDS = 8  # of comparing a bucket's articles with the first of those still unlike any before
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

Ids = NDArray[np.uint64]
BUCKET = np.dtype([("hash", "<u8"), ("id", "<u8")])
MARK = np.dtype([("content", "S16"), ("signature", "<u4", (HASHES,))])
COPY = np.dtype([("id", "<u8"), ("near", "?")])


def numbered(key_range: int, place: int | NDArray[np.integer]) -> Ids:
    """The numbers of the articles at these places of a key range."""
    return np.uint64(key_range << 32) + np.asarray(place, np.uint64)


@dataclass(frozen=True, slots=True)
class Bands:
    """How to split signatures into bands, for the threshold of similarity."""

    threshold: float  # Jaccard similarity of shingles; above 1: only equal texts count
    rows: int
    count: int

    @classmethod
    def for_threshold(cls, threshold: float) -> "Bands":
        """The longest bands in which 99% of such pairs meet; longer bands need fewer comparisons."""
        if not 0 < threshold <= 1:
            return cls(2.0, 1, 0)
        fitting = [rows for rows in range(1, HASHES + 1) if 1 - (1 - threshold**rows) ** (HASHES // rows) >= _FOUND]
        rows = max(fitting, default=1)
        return cls(threshold, rows, HASHES // rows)

    def hashes(self, signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """A hash per band, shape (articles, bands), from signatures of shape (articles, hashes)."""
        cut = signatures[:, : self.rows * self.count].reshape(len(signatures), self.count, self.rows)
        mixed = np.broadcast_to(np.arange(1, self.count + 1, dtype=np.uint64), cut.shape[:2]) * _MIX[0]
        for row in range(self.rows):
            mixed = (mixed ^ cut[:, :, row]) * _MIX[1]
            mixed ^= mixed >> np.uint64(29)
        mixed = mixed * _MIX[2]
        return mixed ^ (mixed >> np.uint64(32))


class Marks:
    """Collects the signatures of one key range's articles and writes them to two files."""

    def __init__(self, folder: Path, key_range: int, bands: Bands, kept: ContentCache | None = None) -> None:
        """Collect in a folder; `kept` is the cache of signatures."""
        self._folder = folder
        self._range = key_range
        self._bands = bands
        self._kept = kept
        self._contents: list[bytes] = []
        self._signatures: list[NDArray[np.uint32]] = []
        self._waiting: list[tuple[str, str]] = []  # articles that have no signature yet
        self._characters = 0  # of them

    def add(self, content_hash: str, text: str) -> None:
        """Add an article: its content hash in hex digits, and its text."""
        self._contents.append(bytes.fromhex(content_hash)[:16])
        if not self._bands.count:
            return
        self._waiting.append((content_hash, text))
        self._characters += len(text)
        if self._characters >= _SIGNED_AT_ONCE or len(self._waiting) == CONTENTS_AT_ONCE:
            self._sign()

    def _sign(self) -> None:
        if not self._waiting:
            return
        signed = signatures(dict(self._waiting), self._kept)
        self._signatures += [signed[content_hash] for content_hash, _ in self._waiting]
        self._waiting, self._characters = [], 0

    def write(self) -> None:
        """Write the signatures in the articles' order, and their buckets in the order of hashes."""
        self._sign()
        marks = np.zeros(len(self._contents), MARK)
        marks["content"] = self._contents
        if self._signatures:
            marks["signature"] = np.stack(self._signatures)
        contents = np.array([int.from_bytes(each[:8]) for each in self._contents], np.uint64).reshape(-1, 1)
        hashes = np.hstack([contents, self._bands.hashes(marks["signature"])])
        wordless = (marks["signature"] == np.uint32(0xFFFFFFFF)).all(axis=1)
        hashes[wordless] = hashes[wordless, :1]  # no shingles: nothing but equal text makes it a copy
        rows = np.empty(hashes.size, BUCKET)
        rows["hash"] = hashes.ravel()
        rows["id"] = np.repeat(numbered(self._range, np.arange(len(marks))), hashes.shape[1])
        rows = _by_hash(rows)
        _write(_file(self._folder, self._range, "marks"), marks)
        _write(_file(self._folder, self._range, "buckets"), rows)


def parts_for(articles: int, bands: Bands) -> int:
    """The number of parts in which to join the buckets, so that each takes a few megabytes."""
    return 1 + articles * (bands.count + 1) // (1 << 18)


def copies_in(folder: Path, part: int, parts: int, ranges: int, threshold: float) -> None:
    """Find the duplicates in one part of the buckets and write their numbers to a file."""
    low, high = (np.uint64(min((number << 64) // parts, (1 << 64) - 1)) for number in (part, part + 1))
    slices = []
    for key_range in range(ranges):
        rows = _mapped(_file(folder, key_range, "buckets"), BUCKET)
        start = np.searchsorted(rows["hash"], low)
        end = np.searchsorted(rows["hash"], high) if part + 1 < parts else len(rows)
        slices.append(np.array(rows[start:end]))
    rows = _by_hash(np.concatenate(slices))
    rows = rows[_unlike_the_one_before(rows)]  # a short text's bands can be equal
    bucket = np.cumsum(_unlike_the_one_before(rows["hash"]), dtype=np.intp)
    shared = np.bincount(bucket)[bucket] > 1
    found = list(_compare(folder, rows["id"][shared], bucket[shared], threshold))
    copies = np.concatenate(found) if found else np.empty(0, COPY)
    copies = copies[np.lexsort((copies["near"], copies["id"]))]
    _, first = np.unique(copies["id"], return_index=True)
    _write(_file(folder, part, "copies"), copies[first])


def _by_hash(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Sort rows by hash. Rows of equal hashes must already be in order: NumPy sorts records slowly."""
    return rows[np.argsort(rows["hash"], kind="stable")]


def _unlike_the_one_before(values: NDArray[Any]) -> NDArray[np.bool_]:
    unlike = np.ones(len(values), bool)
    unlike[1:] = values[1:] != values[:-1]
    return unlike


def _compare(folder: Path, ids: Ids, bucket: NDArray[np.intp], threshold: float) -> Iterator[NDArray[np.void]]:
    """Compare each bucket's articles with its first; repeat among those unlike it."""
    for _ in range(_ROUNDS):
        if not len(ids):
            return
        _, first, inverse = np.unique(bucket, return_index=True, return_inverse=True)
        leader = ids[first][inverse]
        others = ids != leader
        ids, bucket, leader = ids[others], bucket[others], leader[others]
        unlike = np.zeros(len(ids), bool)
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            chunk = slice(start, start + _ROWS_AT_ONCE)
            same, near = _alike(folder, ids[chunk], leader[chunk], threshold)
            copies = np.empty(int((same | near).sum()), COPY)
            copies["id"], copies["near"] = ids[chunk][same | near], ~same[same | near]
            unlike[chunk] = ~(same | near)
            yield copies
        ids, bucket = ids[unlike], bucket[unlike]


def _alike(folder: Path, one: Ids, other: Ids, threshold: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs have equal content, and which reach the threshold of similarity."""
    a, b = _marks_of(folder, one), _marks_of(folder, other)
    return a["content"] == b["content"], (a["signature"] == b["signature"]).mean(axis=1) >= threshold


def _marks_of(folder: Path, ids: Ids) -> NDArray[np.void]:
    numbers, inverse = np.unique(ids, return_inverse=True)
    key_ranges = (numbers >> np.uint64(32)).astype(np.int64)
    marks = np.empty(len(numbers), MARK)
    for key_range in np.unique(key_ranges):
        chosen = key_ranges == key_range
        # opened for this alone: pages that stay mapped would count as this process's memory
        file = _mapped(_file(folder, int(key_range), "marks"), MARK)
        marks[chosen] = file[(numbers[chosen] & np.uint64(0xFFFFFFFF)).astype(np.int64)]
    return marks[inverse]


def copies_of(folder: Path, key_range: int, parts: int) -> dict[int, bool]:
    """The duplicates in one key range: place in the range -> whether it is only a near duplicate."""
    low, high = numbered(key_range, 0), numbered(key_range + 1, 0)
    places: dict[int, bool] = {}
    for part in range(parts):
        copies = _mapped(_file(folder, part, "copies"), COPY)
        start, end = np.searchsorted(copies["id"], [low, high])
        for number, near in copies[start:end].tolist():
            place = number & 0xFFFFFFFF
            places[place] = places.get(place, True) and near
    return places


def _file(folder: Path, number: int, what: str) -> Path:
    return folder / f"{what}-{number}"


def _write(path: Path, array: NDArray[np.void]) -> None:
    """Write an array atomically: an existing file is complete, even if two workers write it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    partial.write_bytes(array.tobytes())
    partial.replace(path)


def _mapped(path: Path, kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Map an array that `_write` wrote. Each part opens every range, and NumPy's format opens slower."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return np.empty(0, kind)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), kind)
