"""Commentaries and Bibles in modules of the SWORD project: zlib blocks of OSIS markup.

A compressed module has, of each testament, `.?zs` (start, size and unpacked size of each block, 12 bytes),
`.?zz` (the blocks) and `.?zv` (block, start and size of each verse: 10 bytes, or 12 in the newer format).
"""

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from parts import Part

_EMPTY = re.compile(r"<(note|table|title|rdg|speaker|catchWord)\b[^>]*(?<!/)>.*?</\1>", re.S)
_VERSE_LINE = re.compile(r"<l [^>]*sID=[^>]*/>.*?<l [^>]*eID=[^>]*/>", re.S)
_LABEL = re.compile(r"<hi type=\"bold\">\s*(Verses?|Ver\.) [^<]*</hi>")
_BREAK = re.compile(r"<(div|lb)\b[^>]*type=\"x-p\"[^>]*>|<(list|item)\b[^>]*>")
_CHAPTER = re.compile(r"<chapter\b[^>]*osisID=\"([^\".]+)\.(\d+)\"[^>]*>")
_AHEAD = re.compile(r"<milestone n=\"([^\"]+)\" type=\"x-usfm-h\"/>")  # a book's name before its first chapter begins
_WITHIN = re.compile(r"<title type=\"x-ms\">([^<]+)</title>")  # or inside that chapter


def parts(folder: Path, names: dict[str, str]) -> Iterator[Part]:
    """A module's chapters, of what is prose in them.

    Args:
        names: books' abbreviations and what to call them, where the module does not say.
    """
    markup = "".join(_entries(folder))
    chapters = list(_CHAPTER.finditer(markup))
    starts = [0, *(match.start() for match in chapters), len(markup)]
    known: dict[str, str] = {}
    for number, match in enumerate(chapters, 1):
        book, chapter = match.groups()
        before, text = markup[starts[number - 1] : match.start()], markup[match.end() : starts[number + 1]]
        if book not in known:
            told = [*_AHEAD.findall(before)[-1:], *_WITHIN.findall(text)[:1], book]
            known[book] = names.get(book, told[0])
        if paragraphs := list(_paragraphs(text.partition("<chapter eID=")[0])):
            title = f"{known[book]} {chapter}"
            yield Part(title, title, paragraphs)


def _entries(folder: Path) -> Iterator[str]:
    """The verses in their order, each once: verses that share a comment point at the same place."""
    for starts in sorted(folder.glob("*.?zs"), reverse=True):  # `ot` before `nt`
        verses = starts.with_name(starts.name[:-1] + "v").read_bytes()
        packed = starts.with_name(starts.name[:-1] + "z").read_bytes()
        blocks = [
            zlib.decompress(packed[start : start + size]) if size else b""
            for start, size, _ in struct.iter_unpack("<III", starts.read_bytes())
        ]
        former = None
        for block, start, size in _places(verses, len(blocks)):
            if size and (block, start) != former:
                yield blocks[block][start : start + size].decode("utf-8", "replace")
            former = block, start


def _places(verses: bytes, blocks: int) -> list[tuple[int, int, int]]:
    """Whichever of the two formats points at blocks that there are."""
    for form in ("<IIH", "<III"):
        if len(verses) % struct.calcsize(form) == 0:
            places = list(struct.iter_unpack(form, verses))
            if all(block < max(blocks, 1) for block, _, _ in places):
                return places
    raise ValueError("The module's verses point outside its blocks; it is damaged or of a format not read here.")


def _paragraphs(markup: str) -> Iterator[str]:
    for pattern in (_VERSE_LINE, _EMPTY, _LABEL):
        markup = pattern.sub(" ", markup)
    for block in re.split(r"\n\n", re.sub(r"<[^>]+>", "", _BREAK.sub("\n\n", markup))):
        text = re.sub(r" +([,.;:?!])", r"\1", " ".join(block.split()))
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
        text = text.lstrip("—- ")
        if _prose(text):
            yield text


def _prose(text: str) -> bool:
    """Sentences, no line of a verse, no list of places."""
    words = len(text.split())
    return words >= 8 and text.endswith((*'.!?"”’)',)) and len(re.findall(r"\d:\d", text)) <= max(1, words / 20)
