"""Parts of a document as its parser finds them, and pieces of an article's length that they are made into."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

SHORTEST, LONGEST = 300, 1200  # words of a piece; what a part has beyond is cut at a paragraph's end
_LEAST = 100  # words; a document with less than this is no article


@dataclass(frozen=True)
class Part:
    """A chapter, a section or an entry: what may be joined to its neighbours of the same document, or cut."""

    document: str
    title: str
    paragraphs: list[str]

    @property
    def words(self) -> int:
        return sum(map(_words, self.paragraphs))


@dataclass(frozen=True)
class Piece:
    title: str
    text: str


def pieces(parts: Iterable[Part]) -> Iterator[Piece]:
    """Join short parts of a document to the next, cut long ones, and leave out what stays too short."""
    for _, group in groupby(parts, key=lambda part: part.document):
        for joined in _joined(group):
            for paragraphs in _cut([each for long in joined.paragraphs for each in _sentences(long)]):
                if sum(map(_words, paragraphs)) >= _LEAST:
                    yield Piece(joined.title, "\n\n".join(paragraphs))


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    held: Part | None = None
    for part in parts:
        held = part if held is None else Part(part.document, held.title, held.paragraphs + part.paragraphs)
        if held.words >= SHORTEST:
            yield held
            held = None
    if held:
        yield held


def _cut(paragraphs: list[str]) -> Iterator[list[str]]:
    """Pieces of about equal length, none much longer than the longest allowed."""
    count = sum(map(_words, paragraphs))
    length = count / max(1, -(-count // LONGEST))
    piece: list[str] = []
    words = 0
    for paragraph in paragraphs:
        if piece and words + _words(paragraph) / 2 > length:
            yield piece
            piece, words = [], 0
        piece.append(paragraph)
        words += _words(paragraph)
    if piece:
        yield piece


def _sentences(paragraph: str) -> Iterator[str]:
    """A paragraph, or as many as keep each below half of the longest piece, parted between sentences."""
    if _words(paragraph) <= LONGEST // 2:
        yield paragraph
        return
    for sentences in _cut_at(
        re.split(r"(?<=[.!?][\"'”’)])\s+|(?<=[.!?])\s+(?=[\"'“‘(]?[A-Z])", paragraph), LONGEST // 4
    ):
        yield " ".join(sentences)


def _cut_at(sentences: list[str], length: int) -> Iterator[list[str]]:
    held: list[str] = []
    for sentence in sentences:
        held.append(sentence)
        if sum(map(_words, held)) >= length:
            yield held
            held = []
    if held:
        yield held


def _words(text: str) -> int:
    return len(text.split())
