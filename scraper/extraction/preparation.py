"""Prepare a page's tree so that trafilatura keeps what belongs to the article and drops what is about the site.

Consent notices go. What HTML's own rules would close, or a template wraps around the article, is no chrome. Code keeps its
lines, and inline code its place in the sentence.
"""

import re

from lxml import etree
from lxml.html import Element, HtmlElement

from scraper.extraction.listings import HEADINGS, count_words
from scraper.extraction.page import CHROME_ROLES, CHROME_TAGS, in_chrome
from textmill.ground.words import count

MAIN_SHARE = 0.8  # of the paragraphs' text: the element that holds so much of it is the page's main part
CODE = "␂"  # begins a block of code, in which the next two stand for a line's end and a space; no filter drops them
LINE, SPACE = "␊", "␠"
_MARKS = re.compile(f"[{CODE}{LINE}{SPACE}]")

_CONSENT = re.compile(r"cookie|consent|gdpr|ccpa", re.I)
_HELD = 0.5  # of the paragraphs' text: what holds more of it is no chrome, whatever its name
_UNWRAPPED = (CHROME_TAGS | {"form"}) - {"script", "style"}
_CHROME = etree.XPath(
    " | ".join(
        [*(f"//{tag}" for tag in sorted(_UNWRAPPED)), *(f"//*[@role='{role}']" for role in sorted(CHROME_ROLES))]
    )
)
_INLINE_CODE = ("code", "kbd", "samp", "tt", "var")
_LINE_NUMBER = re.compile(r"line-?no|line-?num|\blinenos?\b|\bln\b|blob-num|gutter", re.I)
_NUMBERS = re.compile(r"[\d\s.:|]*")
_PROSE_WORDS = 5  # in a line, on average, that make a preformatted text prose
_PROSE_LETTERS = 0.75  # of the characters that are not space
_PROSE_BLOCK = re.compile(r"\n\s*\n")


def put_in_order(tree: HtmlElement) -> None:
    """Prepare a tree for the search of its article."""
    _drop_marks(tree)
    _unwrap(tree)
    _drop_consent(tree)
    _mend_links(tree)
    _keep_code(tree)


def _drop_marks(tree: HtmlElement) -> None:
    """Remove the page's own characters that mark code here."""
    for element in tree.iter():
        if isinstance(element.tag, str):
            if element.text and _MARKS.search(element.text):
                element.text = _MARKS.sub(" ", element.text)
            if element.tail and _MARKS.search(element.tail):
                element.tail = _MARKS.sub(" ", element.tail)


def _unwrap(tree: HtmlElement) -> None:
    """Turn chrome that holds most of the page's paragraphs into plain elements: it was not closed, or misused."""
    total = _text_in(tree)
    for element in _CHROME(tree) if total else ():
        if _text_in(element) > _HELD * total:
            element.attrib.pop("role", None)
            if element.tag in _UNWRAPPED:
                element.tag = "div"


def _text_in(element: HtmlElement) -> int:
    return sum(len(p.text_content()) for p in element.iter("p"))


def _drop_consent(tree: HtmlElement) -> None:
    total = count_words(tree)
    for element in list(tree.iter("div", "section", "aside", "dialog", "form", "p")):
        marked = _CONSENT.search(f"{element.get('id', '')} {element.get('class', '')}")
        dialog = element.get("role") in ("dialog", "alertdialog")
        if (marked or dialog) and element.getparent() is not None and not _holds_article(element, total):
            element.drop_tree()


def _holds_article(element: HtmlElement, total: int) -> bool:
    """Whether an element is too large a part of the page to be a notice."""
    return next(element.iter("h1", "main", "article"), None) is not None or 2 * count_words(element) > total


def _mend_links(tree: HtmlElement) -> None:
    """Remove anchors without links, which trafilatura treats as links in headings."""
    for anchor in list(tree.iter("a")):
        heading = next(anchor.iterancestors(*HEADINGS), None)
        if not anchor.get("href"):
            anchor.drop_tag()
        elif heading is not None and anchor.get("href").startswith("#"):
            # a sign beside a heading that links to itself goes; a heading within such a link stays
            drop = anchor.drop_tree if len(anchor.text_content().strip()) < 2 else anchor.drop_tag
            drop()


def _keep_code(tree: HtmlElement) -> None:
    for table in list(tree.iter("table")):
        _unwrap_listing(table)
    for block in list(tree.iter("pre")):
        _keep_lines(block)
    for code in list(tree.iter(*_INLINE_CODE)):
        lines = code.text_content().strip().count("\n")
        if lines and not code.tail and not (code.getprevious() is not None or (code.getparent().text or "").strip()):
            _keep_lines(code)
        elif next(code.iterancestors("pre"), None) is None:
            code.drop_tag()  # trafilatura drops spaces around it


def _unwrap_listing(table: HtmlElement) -> None:
    """Put a listing's code in the place of a table that has line numbers beside it."""
    rows = [[cell for cell in row if cell.tag in ("td", "th")] for row in table.iter("tr")]
    if table.getparent() is None or not rows or not all(len(row) == 2 and _is_number(row[0]) for row in rows):
        return
    if not any(_LINE_NUMBER.search(row[0].get("class", "")) or row[0].find(".//pre") is not None for row in rows):
        return
    block = Element("pre")
    block.text = "\n".join(row[1].text_content().strip("\n") for row in rows)
    block.tail = table.tail
    table.getparent().replace(table, block)


def _is_number(cell: HtmlElement) -> bool:
    return _NUMBERS.fullmatch(cell.text_content()) is not None


def _keep_lines(block: HtmlElement) -> None:
    """Turn a preformatted block into paragraphs: of its prose, or one of code whose lines are marked."""
    for each in list(block.iter("br")):
        each.tail = "\n" + (each.tail or "")
    for each in list(block.iter("span", "a", "td")):
        if _LINE_NUMBER.search(each.get("class", "")) and _is_number(each):
            each.drop_tree()
    text = block.text_content().expandtabs(4)
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    parts = [" ".join(part.split()) for part in _PROSE_BLOCK.split(text)] if _is_prose(lines) else [_marked(lines)]
    parent = block.getparent()
    if parent is None:
        return
    place = parent.index(block)
    made = [_paragraph(part) for part in parts if part]
    if made:
        made[-1].tail = block.tail
    elif block.tail:
        block.drop_tree()
        return
    parent[place : place + 1] = made


def _paragraph(text: str) -> HtmlElement:
    element = Element("p")
    element.text = text
    return element


def _marked(lines: list[str]) -> str:
    if not any(lines):
        return ""
    return CODE + LINE.join(line.replace(" ", SPACE) for line in lines)


def _is_prose(lines: list[str]) -> bool:
    """Whether preformatted lines are sentences that somebody wrapped."""
    full = [line for line in lines if line.strip()]
    signs = [sign for line in full for sign in line if not sign.isspace()]
    letters = sum(sign.isalpha() for sign in signs)
    words = sum(map(count, full))
    long_lines = len(full) >= 2 and words >= _PROSE_WORDS * len(full) * 0.8
    return long_lines and letters >= _PROSE_LETTERS * max(1, len(signs)) and any("." in line for line in full)


def mark_main(tree: HtmlElement) -> None:
    """On a page without `article` or `main`, mark the smallest element with most paragraphs as the article."""
    body = tree.find("body")
    if body is None or next(tree.iter("article", "main"), None) is not None:
        return
    main, enough = body, MAIN_SHARE * _paragraph_text(body)
    while True:
        inner = next((e for e in main if isinstance(e.tag, str) and _paragraph_text(e) > enough), None)
        if inner is None or inner.tag not in ("div", "section", "center", "table", "tbody", "tr", "td", "form"):
            break
        main = inner
    if main.tag in ("div", "section"):
        main.tag = "article"


def _paragraph_text(element: HtmlElement) -> int:
    """Characters in an element's paragraphs, without the site's chrome."""
    return sum(len(p.text_content()) for p in element.iter("p") if not in_chrome(p))
