"""The paragraphs of trafilatura's tree: text blocks joined, code with its lines, tables with their rows."""

import re
from collections.abc import Iterator

from lxml import etree

from scraper.extraction.preparation import CODE, LINE, SPACE
from textmill.ground.words import count

_BLOCKS = frozenset(("body", "div", "p", "head", "quote", "code", "list", "item", "table", "row", "cell"))
_BREAK = "\v"  # stands for a line break; no page's own text holds one, as lxml refuses it
_TWO_BREAKS = re.compile(r"\v\s*\v")
_HOLD_SENTENCES = frozenset(("p", "head", "cell", "item", "quote"))
_ROW_WORDS = 8  # words of a table cell, at least, that make it prose: layout, not data
_CELLS = " | "  # between the cells of a row
_KEEPS_SIGNS = ("code", "table")  # blocks that may have no letters


def prose(body: etree._Element, title: str) -> list[str]:
    """The paragraphs of an extracted body, without the title and repetitions."""
    paragraphs: list[str] = []
    last_is_heading = False
    for tag, text in _blocks(body):
        if tag not in _KEEPS_SIGNS and not any(sign.isalpha() for sign in text):
            continue  # a footnote's number, or a row of stars
        if (not paragraphs and text.casefold() == title.casefold()) or (paragraphs and text == paragraphs[-1]):
            continue
        paragraphs.append(text)
        last_is_heading = tag == "head"
    return paragraphs[:-1] if last_is_heading else paragraphs


def _blocks(element: etree._Element) -> Iterator[tuple[str, str]]:
    """The text blocks of trafilatura's tree with their tags; whitespace becomes single spaces."""
    tag = str(element.tag)
    if tag == "table" and (rows := _data_rows(element)):
        yield tag, "\n".join(rows)
        return
    if tag == "code":
        lines = [line.rstrip() for line in "".join(element.itertext()).splitlines()]
        yield from [(tag, text)] if (text := "\n".join(lines).strip("\n")) else []
        return
    if tag == "cell" and count("".join(element.itertext())) < _ROW_WORDS:
        return
    run = element.text or ""
    for child in element:
        if isinstance(child.tag, str) and _is_block(child):
            yield from _runs(tag, run)
            yield from _blocks(child)
            run = ""
        elif child.tag == "lb":
            run += _BREAK
        elif isinstance(child.tag, str):
            run += "".join(child.itertext())
        run += child.tail or ""
    yield from _runs(tag, run)


def _data_rows(table: etree._Element) -> list[str]:
    """The rows of a table that holds data; none if it only lays out a page."""
    rows = []
    for row in table.iter("row"):
        texts = ["".join(cell.itertext()) for cell in row.iter("cell")]
        cells = [" ".join(_plain(text).split()) for text in texts]
        if sum(count(cell) >= _ROW_WORDS for cell in cells) > 1 or any(CODE in text for text in texts):
            return []
        if any(cells):
            rows.append(_CELLS.join(cells))
    nested = next(table.iterdescendants("table", "list", "head"), None) is not None
    return rows if not nested and len(rows) > 1 and any(_CELLS in row for row in rows) else []


def _is_block(element: etree._Element) -> bool:
    # within these, code and quotations are words of the sentence
    parent = element.getparent()
    inline = element.tag in ("code", "quote") and parent is not None and parent.tag in _HOLD_SENTENCES
    return element.tag in _BLOCKS and not inline


def _runs(tag: str, run: str) -> Iterator[tuple[str, str]]:
    """A text split at double line breaks, which separate paragraphs on old pages, and at blocks of code."""
    for part in _TWO_BREAKS.split(run):
        before, is_code, code = part.partition(CODE)
        if text := " ".join(before.split()):
            yield tag, text
        if is_code:
            yield "code", _plain(code).strip("\n")


def _plain(text: str) -> str:
    return text.replace(CODE, "").replace(LINE, "\n").replace(SPACE, " ")
