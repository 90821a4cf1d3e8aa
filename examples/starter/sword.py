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
_BOOK = re.compile(r"<milestone n=\"([^\"]+)\" type=\"x-usfm-h\"/>|<title type=\"x-ms\">([^<]+)</title>")


def parts(folder: Path, names: dict[str, str]) -> Iterator[Part]:
    """A module's chapters, of what is prose in them.

    Args:
        names: books' abbreviations and what to call them, where the module does not say.
    """
    markup = "".join(_entries(folder))
    books = [(match.start(), match.group(1) or match.group(2)) for match in _BOOK.finditer(markup)]
    chapters = list(_CHAPTER.finditer(markup))
    for number, match in enumerate(chapters):
        end = chapters[number + 1].start() if number + 1 < len(chapters) else len(markup)
        told = [name for place, name in books if place < end]
        book = names.get(match.group(1)) or (told[-1] if told else match.group(1))
        title = f"{book} {match.group(2)}"
        if paragraphs := list(_paragraphs(markup[match.end() : end])):
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
