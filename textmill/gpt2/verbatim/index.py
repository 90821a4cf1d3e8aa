"""Which passages of a text stand word for word in the training text, and in which article.

A passage is 30 tokens of the model's own tokenizer. The index is made once, while the articles stream by, and is mapped
from files when it is read, so neither needs more memory for more articles. It holds hashes, addresses and titles, no
text. It takes about three bytes a token, where the text takes about four.

Candidates are found by winnowing (Schleimer, Wilkerson and Aiken 2003): of every 15 neighbouring hashes of 16 tokens the
least is kept with its position, so two passages of 30 tokens that are equal have one kept hash in common, at the same
place. A 16-bit hash of the 30 tokens from every position on then decides. A passage that is in the training text is
always found; at each place where only the 16 tokens agree, one in 65,535 is found wrongly.
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
    """A stretch that stands in one article; neighbouring runs from different articles may overlap."""

    start: int  # the first token, or character
    stop: int  # the one after the last
    url: str
    title: str


class Verbatim:
    """The index of one training text."""

    def __init__(self, directory: Path, tokenizer: Tokenizer) -> None:
        """Map an index; `open` does so for a bundle's.

        Raises:
            UserError: there is none, or it has another format.
        """
        try:
            index: dict[str, Any] = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"There is no index of the training text at {directory}; train the model again.") from None
        if (index["format"], index["passage"]) != (FORMAT, PASSAGE):
            raise UserError(f"The index at {directory} has format {index['format']}; this Textmill reads {FORMAT}.")
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
        """The index in a bundle's folder; None where the bundle has none, as older ones."""
        folder = directory / bundle.VERBATIM
        return cls(folder, Tokenizer.load(directory / bundle.TOKENIZER)) if folder.is_dir() else None

    def passages(self, tokens: Sequence[int]) -> NDArray[np.bool_]:
        """Which of the passages that begin at each token stand in the training text, shape (len(tokens) - 29,)."""
        found = np.zeros(max(0, len(tokens) - PASSAGE + 1), np.bool_)
        for place, _ in self._matches(tokens):
            found[place] = True
        return found

    def copied(self, tokens: Sequence[int]) -> list[Run]:
        """The stretches of at least 30 tokens that stand in the training text, each as long as one article has it."""
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
        """The same for text; starts and stops are characters."""
        tokens, spans = self._tokenizer.encode_with_spans(text)
        return [replace(run, start=spans[run.start][0], stop=spans[run.stop - 1][1]) for run in self.copied(tokens)]

    def share(self, texts: Iterable[str]) -> tuple[int, int]:
        """How many passages of these texts stand in the training text, and how many passages there are."""
        found = [self.passages(self._tokenizer.encode(text)) for text in texts]
        return sum(int(each.sum()) for each in found), sum(len(each) for each in found)

    def article_at(self, position: int) -> tuple[int, int, int]:
        """The number of the article that a position of the training text is in, its first token and the one after its last."""
        number = int(np.searchsorted(self._places[:, 0], position, side="right")) - 1
        return number, int(self._places[number, 0]), int(self._places[number + 1, 0])

    def repeated(self, count: int, apart: int) -> list[int]:
        """Where passages begin that stand in several articles, those in most articles first, at most `count`.

        Each is named once, where it stands first, and they begin at least `apart` tokens from one another.
        """
        found: list[int] = []
        for position in self._repetitions(50 * count):
            if len(found) == count:
                break
            if all(abs(position - other) >= apart for other in found):
                found.append(position)
        return found

    def _repetitions(self, most: int) -> list[int]:
        """First positions of fingerprints at which the same passage begins in several articles, by their number."""
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
        """Each passage of the training text that begins in `tokens`, with the shifts to where the articles have it."""
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
        """The positions in the training text at which this fingerprint was kept, the least first."""
        bucket = fingerprint >> (64 - self._bits)
        first, end = (int(each) for each in self._buckets[bucket : bucket + 2])
        low = np.uint32(fingerprint & 0xFFFFFFFF)
        # within a bucket the order is that of the whole hash, so equal low halves are not neighbours; a bucket is small
        where = np.flatnonzero(self._hashes[first:end] == low)
        return self._positions[first + where].astype(np.int64)


def position_kind(tokens: int) -> str:
    """The type of positions in a training text of so many tokens."""
    return "<u4" if tokens <= 1 << 32 else "<u8"


def _mapped(path: Path, kind: str) -> NDArray[Any]:
    # as a plain array over the same memory: a memmap's own slices cost ten times as much to make
    return np.asarray(np.memmap(path, kind, mode="r")) if path.stat().st_size else np.empty(0, kind)


def _spread_bits(values: Hashes) -> Hashes:
    """Spread every bit of the input over the output (the finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def mix(tokens: Sequence[int] | Hashes) -> Hashes:
    """Each token's number turned into one that looks random."""
    return _spread_bits(np.asarray(tokens, np.uint64) + np.uint64(0x9E3779B97F4A7C15))


def grams_of(mixed: Hashes, length: int) -> Hashes:
    """A hash of the `length` tokens that begin at each position, shape (len(mixed) - length + 1,)."""
    count = len(mixed) - length + 1
    total = np.zeros(count, np.uint64)
    for offset in range(length):
        total = total * np.uint64(0x9E3779B97F4A7C15) + mixed[offset : offset + count]
    return _spread_bits(total)


def checks_of(mixed: Hashes) -> NDArray[np.uint16]:
    """A hash of the passage that begins at each position, never 0."""
    return (grams_of(mixed, PASSAGE) % np.uint64(0xFFFF) + np.uint64(1)).astype(np.uint16)


def least_of(grams: Hashes) -> NDArray[np.int64]:
    """The place of the least hash, of equal ones the last, among each 15 neighbours."""
    windows = np.lib.stride_tricks.sliding_window_view(grams, _WINDOW)[:, ::-1]
    return np.arange(len(windows)) + _WINDOW - 1 - windows.argmin(axis=1)
