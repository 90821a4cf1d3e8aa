"""Index of the training text: find passages copied word for word, and their article.

A passage is 30 tokens of the model's tokenizer. The index is built from a stream of articles and read as mapped files, so
memory use does not grow with the corpus. It has hashes, addresses and titles, but no text. It takes about 3 bytes per
token; the text takes about 4.

Candidates are found by winnowing (Schleimer, Wilkerson and Aiken 2003): of every 15 neighbouring hashes of 16 tokens, the
index has the lowest with its position. Two equal passages of 30 tokens therefore share one hash at the same place. A
16-bit hash of the 30 tokens at each position then decides. Copied passages are always found. Where only the 16 tokens
match, the false positive rate is 1 in 65,535.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import Tokenizer
from textmill.ground.errors import UserError

PASSAGE = 30  # tokens; a shorter agreement is often chance or a common phrase
GRAM = 16  # tokens under one fingerprint
_WINDOW = PASSAGE - GRAM + 1  # fingerprints of which the least is kept
_BLOCK = 1 << 20  # fingerprints compared at once
FORMAT = 1

INDEX = "index.json"
CHECKS = "checks.u16"  # of the passage that begins at each token; 0 where none does
HASHES = "hashes.u32"  # the low halves of the fingerprints, sorted by the whole
POSITIONS = "positions"  # of the fingerprints, in the same order; 32 bits each, or 64 where there are more tokens
BUCKETS = "buckets.u64"  # where the fingerprints begin that have the same first bits
ARTICLES = "articles.u64"  # each article's first token, and its first byte in the next file
NAMES = "articles.jsonl"  # [address, title] of each article

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Run:
    """A run of tokens copied from one article. Runs from different articles may overlap."""

    start: int  # the first token, or character
    stop: int  # the one after the last
    url: str
    title: str


class Verbatim:
    """The index of one training text."""

    def __init__(self, directory: Path, tokenizer: Tokenizer) -> None:
        """Map an index. For a bundle's index, use `open`.

        Raises:
            UserError: it is absent or has another format.
        """
        try:
            index: dict[str, Any] = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{directory} has no index of the training text; train the model again.") from None
        if (index["format"], index["passage"]) != (FORMAT, PASSAGE):
            raise UserError(
                f"The index at {directory} has format {index['format']}, but this Textmill reads {FORMAT}; train the model again."
            )
        self.tokens: int = index["tokens"]
        self.articles: int = index["articles"]
        self._tokenizer = tokenizer
        self._directory = directory
        self._bits: int = index["bits"]
        self._checks = _mapped(directory / CHECKS, "<u2")
        self._hashes = _mapped(directory / HASHES, "<u4")
        self._positions = _mapped(directory / POSITIONS, position_kind(self.tokens))
        self._buckets = _mapped(directory / BUCKETS, "<u8")
        self._places = _mapped(directory / ARTICLES, "<u8").reshape(-1, 2)

    @classmethod
    def open(cls, directory: Path) -> "Verbatim | None":
        """Open the index in a bundle's folder; None for older bundles without one."""
        folder = directory / bundle.VERBATIM
        return cls(folder, Tokenizer.load(directory / bundle.TOKENIZER)) if folder.is_dir() else None

    def passages(self, tokens: Sequence[int]) -> NDArray[np.bool_]:
        """Whether the passage at each token is in the training text, shape (len(tokens) - 29,)."""
        found = np.zeros(max(0, len(tokens) - PASSAGE + 1), np.bool_)
        for place, _ in self._matches(tokens):
            found[place] = True
        return found

    def copied(self, tokens: Sequence[int]) -> list[Run]:
        """The copied runs of at least 30 tokens, each as long as in one article."""
        runs: list[Run] = []
        start, last = 0, -2
        shifts: NDArray[np.int64] = np.empty(0, np.int64)  # from the text's positions to the articles'
        for place, matched in self._matches(tokens):
            going_on = np.intersect1d(shifts, matched) if place == last + 1 else shifts[:0]
            if not len(going_on):
                if last >= 0:
                    runs.append(self._run(start, last, int(shifts[0])))
                start, going_on = place, matched
            last, shifts = place, going_on
        return [*runs, self._run(start, last, int(shifts[0]))] if last >= 0 else runs

    def copied_text(self, text: str) -> list[Run]:
        """The same for text; starts and stops are character offsets, of whole characters only."""
        tokens, spans = self._tokenizer.encode_with_spans(text)
        return [_whole_characters(run, spans) for run in self.copied(tokens)]

    def last_tokens(self, text: str, count: int) -> int:
        """The offset in a text at which its last so many tokens begin."""
        _, spans = self._tokenizer.encode_with_spans(text)
        return spans[-count][0] if len(spans) >= count else 0

    def share(self, texts: Iterable[str]) -> tuple[int, int]:
        """The number of copied passages in these texts, and of all their passages."""
        found = [self.passages(self._tokenizer.encode(text)) for text in texts]
        return sum(int(each.sum()) for each in found), sum(len(each) for each in found)

    def article_at(self, position: int) -> tuple[int, int, int]:
        """The article at a position of the training text: its number, first token and end."""
        number = int(np.searchsorted(self._places[:, 0], position, side="right")) - 1
        return number, int(self._places[number, 0]), int(self._places[number + 1, 0])

    def repeated(self, count: int, apart: int) -> list[int]:
        """Up to `count` positions of passages shared by several articles, those in most articles first.

        Each passage is listed once, at its first position; positions are at least `apart` tokens apart.
        """
        found: list[int] = []
        for position in self._repetitions(50 * count):
            if len(found) == count:
                break
            if all(abs(position - other) >= apart for other in found):
                found.append(position)
        return found

    def _repetitions(self, most: int) -> list[int]:
        """First positions of passages shared by several articles, by number of articles."""
        best: list[tuple[int, int]] = []  # how often, negative; position
        for first in range(0, len(self._hashes), _BLOCK):
            hashes = self._hashes[first : first + _BLOCK]
            positions = self._positions[first : first + _BLOCK].astype(np.int64)
            checks = self._checks[positions]
            articles = np.searchsorted(self._places[:, 0], positions, side="right")
            same = (hashes[1:] == hashes[:-1]) & (checks[1:] == checks[:-1]) & (checks[1:] != 0)
            same &= articles[1:] != articles[:-1]
            edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
            best += [(int(start - end), int(positions[start])) for start, end in edges.reshape(-1, 2)]
            best = sorted(best)[:most]
        return [position for _, position in best]

    def _run(self, start: int, last: int, shift: int) -> Run:
        url, title = self._name(self.article_at(start + shift)[0])
        return Run(start, last + PASSAGE, url, title)

    def _name(self, number: int) -> tuple[str, str]:
        line = self._names[int(self._places[number, 1]) : int(self._places[number + 1, 1])]
        url, title = json.loads(bytes(line))
        return url, title

    @cached_property
    def _names(self) -> NDArray[np.uint8]:
        return _mapped(self._directory / NAMES, "u1")

    def _matches(self, tokens: Sequence[int]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Each copied passage in `tokens`, with the shifts to its positions in the articles."""
        if len(tokens) < PASSAGE or not len(self._hashes):
            return
        mixed = mix(tokens)
        grams, checks = grams_of(mixed, GRAM), checks_of(mixed)
        least = least_of(grams)
        known: dict[int, NDArray[np.int64]] = {}
        for place, gram in enumerate(least.tolist()):
            if gram not in known:
                known = {gram: self._lookup(int(grams[gram]))}  # the grams rise: a former one does not come again
            if not len(known[gram]):
                continue
            shifts = known[gram] - gram
            starts = shifts + place
            inside = (starts >= 0) & (starts < self.tokens)
            shifts, starts = shifts[inside], starts[inside]
            matched = shifts[self._checks[starts] == checks[place]]
            if len(matched):
                yield place, matched

    def _lookup(self, fingerprint: int) -> NDArray[np.int64]:
        """The positions of this fingerprint in the training text, in ascending order."""
        bucket = fingerprint >> (64 - self._bits)
        first, end = (int(each) for each in self._buckets[bucket : bucket + 2])
        low = np.uint32(fingerprint & 0xFFFFFFFF)
        # within a bucket the order is that of the whole hash, so equal low halves are not neighbours; a bucket is small
        where = np.flatnonzero(self._hashes[first:end] == low)
        return self._positions[first + where].astype(np.int64)


def _whole_characters(run: Run, spans: Sequence[tuple[int, int]]) -> Run:
    """A run of tokens as one of the characters of which it has all tokens; a byte-level token may be a part of one.

    Its span is that of the whole character, so that neighbouring spans may overlap.
    """
    start, stop = spans[run.start][0], spans[run.stop - 1][1]
    if run.start > 0:
        start = max(start, spans[run.start - 1][1])
    if run.stop < len(spans):
        stop = min(stop, spans[run.stop][0])
    return replace(run, start=start, stop=stop)


def position_kind(tokens: int) -> str:
    """The integer type of positions in a training text of this length."""
    return "<u4" if tokens <= 1 << 32 else "<u8"


def _mapped(path: Path, kind: str) -> NDArray[Any]:
    # as a plain array over the same memory: a memmap's own slices cost ten times as much to make
    return np.asarray(np.memmap(path, kind, mode="r")) if path.stat().st_size else np.empty(0, kind)


def _spread_bits(values: Hashes) -> Hashes:
    """Hash integers so that each input bit affects all output bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def mix(tokens: Sequence[int] | Hashes) -> Hashes:
    """A pseudorandom number for each token."""
    return _spread_bits(np.asarray(tokens, np.uint64) + np.uint64(0x9E3779B97F4A7C15))


def grams_of(mixed: Hashes, length: int) -> Hashes:
    """A hash of the `length` tokens at each position, shape (len(mixed) - length + 1,)."""
    count = len(mixed) - length + 1
    total = np.zeros(count, np.uint64)
    for offset in range(length):
        total = total * np.uint64(0x9E3779B97F4A7C15) + mixed[offset : offset + count]
    return _spread_bits(total)


def checks_of(mixed: Hashes) -> NDArray[np.uint16]:
    """A hash of the passage at each position, never 0."""
    return (grams_of(mixed, PASSAGE) % np.uint64(0xFFFF) + np.uint64(1)).astype(np.uint16)


def least_of(grams: Hashes) -> NDArray[np.int64]:
    """The position of the lowest hash in each window of 15; of equal ones, the last."""
    windows = np.lib.stride_tricks.sliding_window_view(grams, _WINDOW)[:, ::-1]
    return np.arange(len(windows)) + _WINDOW - 1 - windows.argmin(axis=1)
