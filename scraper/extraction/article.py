"""Extract the article of a page, or give the reason why there is none.

trafilatura finds the text. Before it, the tree is cleaned: parts about the site or other pages are removed, and markup
that makes trafilatura drop headings is fixed. After it, text blocks are joined to paragraphs.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast
from urllib.parse import unquote, urlsplit

from lxml import etree
from lxml.html import HtmlElement
from trafilatura import bare_extraction
from trafilatura.settings import Document

from scraper.extraction import listings
from scraper.extraction.listings import HEADINGS, count_words
from scraper.extraction.notices import notice_in
from scraper.extraction.page import Page, in_chrome
from scraper.extraction.rights import SiteTerms, reservation, robots_tags
from scraper.extraction.selectors import selected, selected_date, selected_text
from textmill.articles.article import Article
from textmill.ground.words import count
from textmill.settings.sites import Source

LIKELY_LISTING_FACTOR = 3  # a home page's welcome is no article unless it is this many times as long as one must be
MAIN_SHARE = 0.8  # of the paragraphs' text: the element that holds so much of it is the page's main part

_CONSENT = re.compile(r"cookie|consent|gdpr|ccpa", re.I)
# where a page declares its date; elsewhere one that its prose happens to mention would be taken
_DATED = etree.XPath(
    "boolean(//time[@datetime] | //*[@itemprop='datePublished']"
    " | //meta[contains(@property, 'publish') or contains(@name, 'date') or contains(@name, 'publish')]"
    " | //script[contains(., 'datePublished')])"
)
_RESTRICTIONS = ("noindex", "noarchive", "noai", "noimageai", "nosnippet")
_BLOCKS = frozenset(("body", "div", "p", "head", "quote", "code", "list", "item", "table", "row", "cell"))
_BREAK = "\v"  # stands for a line break; no page's own text holds one, as lxml refuses it
_TWO_BREAKS = re.compile(r"\v\s*\v")
_HOLD_SENTENCES = frozenset(("p", "head", "cell", "item", "quote"))
_ROW_WORDS = 8  # words of a table cell, at least, that make it prose: layout, not data


@dataclass(frozen=True, slots=True)
class Refused:
    """A page without an article, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Facts about a page besides its HTML."""

    fetched: datetime  # UTC
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    terms: SiteTerms = field(default_factory=SiteTerms)  # of its site


def article_of(page: Page, source: Source, min_words: int, answer: Answer) -> Article | Refused:
    """Extract the article of a page. This changes the page's tree.

    Args:
        page: a page with status 200.
        source: gives the article's source name and, if set, the selectors.
        min_words: minimum length of an article, in words.
    """
    reserved = reservation(page, answer.headers, answer.terms)  # the tree loses its head later
    robots = robots_tags(answer.headers.get("x-robots-tag", "")) | page.directives()
    chosen = _Chosen(page, source)
    read = (
        _by_selector(page, source, chosen, min_words) if source.text_selector else _by_itself(page, chosen, min_words)
    )
    if isinstance(read, Refused):
        return read
    published = chosen.published or read.published
    return Article(
        url=page.canonical,
        source=source.name,
        title=read.title,
        text=read.text,
        fetched=answer.fetched,
        author=chosen.author or read.author,
        language=page.language() or source.language or None,
        # a date from the future is a mistake, or the next issue's; a day is for time zones
        published=published if published and published < answer.fetched + timedelta(days=1) else None,
        robots=", ".join(["allowed", *(word for word in _RESTRICTIONS if word in robots)]),
        licence=read.licence or source.licence or None,
        reserved=reserved,
    )


class _Chosen:
    """The results of the source's selectors on the unchanged tree."""

    def __init__(self, page: Page, source: Source) -> None:
        self.title = selected(page, source.title_selector)
        self.author = selected(page, source.author_selector)
        self.published = selected_date(page, source.date_selector)


@dataclass(frozen=True, slots=True)
class _Read:
    """The parts of an article."""

    title: str
    text: str
    author: str | None = None
    published: datetime | None = None
    licence: str | None = None


def _by_selector(page: Page, source: Source, chosen: _Chosen, min_words: int) -> _Read | Refused:
    paragraphs = selected_text(page, source)
    if paragraphs is None:
        return Refused("text_selector finds nothing")
    title = chosen.title or _title(page.tree.findtext(".//h1") or page.tree.findtext(".//title"), page)
    text = "\n\n".join(each for each in paragraphs if each != title)
    return _Read(title, text) if count(text) >= min_words else Refused("too short")


def _by_itself(page: Page, chosen: _Chosen, min_words: int) -> _Read | Refused:
    if listings.is_declared(page):
        return Refused("listing")
    _put_in_order(page.tree)
    listings.prune_contents(page)
    teasers = listings.prune_teasers(page)
    # what is left of a listing need not be searched for an article
    document = _extract(page) if count_words(page.tree) >= min_words else None
    title = _title(document.title if document else None, page)
    text = "\n\n".join(_prose(document.body, title)) if document else ""
    refused = _refusal(page, text, teasers, min_words) or notice_in(title, text, min_words)
    if refused or document is None:
        return Refused(refused or "too short")
    published = _date(document.date) if _DATED(page.tree) else None
    return _Read(chosen.title or title, text, document.author, published, document.license)


def _extract(page: Page) -> Document | None:
    _mark_main(page.tree)
    extracted = bare_extraction(
        page.tree,
        url=page.canonical,
        favor_precision=True,
        include_comments=False,
        with_metadata=True,
        date_extraction_params={"extensive_search": False, "original_date": True},
    )
    return cast("Document | None", extracted)


def _refusal(page: Page, text: str, teasers: int, min_words: int) -> str | None:
    """The reason why a page with this text is not an article; None if it is one."""
    words = count(text)
    likely = listings.is_likely_place(page.url)
    lists = listings.linked_words(page) > 2 * words or 2 * listings.led_words(page, text) > words
    if words < min_words:
        return "listing" if lists or teasers or likely else "too short"
    return "listing" if lists or (likely and words < LIKELY_LISTING_FACTOR * min_words) else None


def _put_in_order(tree: HtmlElement) -> None:
    """Remove consent notices, and anchors without links, which trafilatura treats as links in headings."""
    total = count_words(tree)
    for element in list(tree.iter("div", "section", "aside", "dialog", "form", "p")):
        marked = _CONSENT.search(f"{element.get('id', '')} {element.get('class', '')}")
        dialog = element.get("role") in ("dialog", "alertdialog")
        if (marked or dialog) and element.getparent() is not None and not _holds_article(element, total):
            element.drop_tree()
    for anchor in list(tree.iter("a")):
        heading = next(anchor.iterancestors(*HEADINGS), None)
        if not anchor.get("href"):
            anchor.drop_tag()
        elif heading is not None and anchor.get("href").startswith("#"):
            # a sign beside a heading that links to itself goes; a heading within such a link stays
            drop = anchor.drop_tree if len(anchor.text_content().strip()) < 2 else anchor.drop_tag
            drop()


def _holds_article(element: HtmlElement, total: int) -> bool:
    """Whether an element is too large a part of the page to be a notice."""
    return next(element.iter("h1", "main", "article"), None) is not None or 2 * count_words(element) > total


def _mark_main(tree: HtmlElement) -> None:
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


def _title(found: str | None, page: Page) -> str:
    if found and found.strip():
        return " ".join(found.split())
    # a page without any title: the last word of its address says more than nothing
    segments = [segment for segment in urlsplit(page.canonical).path.split("/") if segment]
    return re.sub(r"[-_]+", " ", unquote(segments[-1]).rpartition(".")[0] or segments[-1]) if segments else ""


def _date(found: str | None) -> datetime | None:
    return datetime.fromisoformat(found).replace(tzinfo=UTC) if found else None


def _prose(body: etree._Element, title: str) -> list[str]:
    """The paragraphs of an extracted body, without the title and repetitions."""
    paragraphs: list[str] = []
    last_is_heading = False
    for tag, text in _blocks(body):
        if tag != "code" and not any(sign.isalpha() for sign in text):
            continue  # a footnote's number, or a row of stars
        if (not paragraphs and text.casefold() == title.casefold()) or (paragraphs and text == paragraphs[-1]):
            continue
        paragraphs.append(text)
        last_is_heading = tag == "head"
    return paragraphs[:-1] if last_is_heading else paragraphs


def _blocks(element: etree._Element) -> Iterator[tuple[str, str]]:
    """The text blocks of trafilatura's tree with their tags; whitespace becomes single spaces."""
    tag = str(element.tag)
    if tag == "code":
        lines = ("".join(element.itertext())).splitlines()
        yield from [(tag, text)] if (text := "\n".join(line.rstrip() for line in lines if line.strip())) else []
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


def _is_block(element: etree._Element) -> bool:
    # within these, code and quotations are words of the sentence
    parent = element.getparent()
    inline = element.tag in ("code", "quote") and parent is not None and parent.tag in _HOLD_SENTENCES
    return element.tag in _BLOCKS and not inline


def _runs(tag: str, run: str) -> Iterator[tuple[str, str]]:
    """A text split at double line breaks, which separate paragraphs on old pages."""
    for part in _TWO_BREAKS.split(run):
        if text := " ".join(part.split()):
            yield tag, text
