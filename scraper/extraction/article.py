"""Extract the article of a page, or give the reason why there is none.

trafilatura finds the text. Before it, the tree is prepared: parts about the site or other pages are removed, and markup
that makes trafilatura drop headings or code is fixed. After it, text blocks are joined to paragraphs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast
from urllib.parse import unquote, urlsplit

from lxml import etree
from trafilatura import bare_extraction
from trafilatura.settings import Document

from scraper.extraction import listings
from scraper.extraction.blocks import prose
from scraper.extraction.characters import REPLACED, cleaned
from scraper.extraction.language import language_of
from scraper.extraction.listings import count_words
from scraper.extraction.notices import notice_in
from scraper.extraction.page import Page
from scraper.extraction.preparation import mark_main, put_in_order
from scraper.extraction.rights import PageTerms, reservation, robots_tags, stated_licence
from scraper.extraction.selectors import selected, selected_date, selected_text
from textmill.articles.article import Article
from textmill.ground.words import count
from textmill.settings.sites import Source

_UNREADABLE = 0.01  # of the characters that no charset could read, at most
LIKELY_LISTING_FACTOR = 3  # a home page's welcome is no article unless it is this many times as long as one must be
# where a page declares its date; elsewhere one that its prose happens to mention would be taken
_DATED = etree.XPath(
    "boolean(//time[@datetime] | //*[@itemprop='datePublished']"
    " | //meta[contains(@property, 'publish') or contains(@name, 'date') or contains(@name, 'publish')]"
    " | //script[contains(., 'datePublished')])"
)
_RESTRICTIONS = ("noindex", "noarchive", "noai", "noimageai", "nosnippet")


@dataclass(frozen=True, slots=True)
class Refused:
    """A page without an article, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Facts about a page besides its HTML."""

    fetched: datetime  # UTC
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    terms: PageTerms = field(default_factory=PageTerms)  # what its site says of it


def article_of(page: Page, source: Source, min_words: int, answer: Answer) -> Article | Refused:
    """Extract the article of a page. This changes the page's tree.

    Args:
        page: a page with status 200.
        source: gives the article's source name and, if set, the selectors.
        min_words: minimum length of an article, in words.
    """
    reserved = reservation(page, answer.headers, answer.terms)  # the tree loses its head later
    agents = answer.terms.agents
    robots = robots_tags(answer.headers.get("x-robots-tag", ""), agents) | page.directives(agents)
    licence = stated_licence(page)
    chosen = _Chosen(page, source)
    read = (
        _by_selector(page, source, chosen, min_words) if source.text_selector else _by_itself(page, chosen, min_words)
    )
    if isinstance(read, Refused):
        return read
    if read.text.count(REPLACED) > _UNREADABLE * len(read.text):
        return Refused("unreadable")
    text = cleaned(read.text)
    published = chosen.published or read.published
    return Article(
        url=page.canonical,
        source=source.name,
        title=cleaned(read.title),
        text=text,
        fetched=answer.fetched,
        author=cleaned(chosen.author or read.author or "") or None,
        language=language_of(text, page.language() or source.language or None),
        # a date from the future is a mistake, or the next issue's; a day is for time zones
        published=published if published and published < answer.fetched + timedelta(days=1) else None,
        robots=", ".join(["allowed", *(word for word in _RESTRICTIONS if word in robots)]),
        licence=read.licence or licence or source.licence or None,
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
    put_in_order(page.tree)
    listings.prune_contents(page)
    teasers = listings.prune_teasers(page)
    # what is left of a listing need not be searched for an article
    document = _extract(page) if count_words(page.tree) >= min_words else None
    title = _title(document.title if document else None, page)
    text = "\n\n".join(prose(document.body, title)) if document else ""
    refused = _refusal(page, text, teasers, min_words) or notice_in(title, text, min_words)
    if refused or document is None:
        return Refused(refused or "too short")
    published = _date(document.date) if _DATED(page.tree) else None
    return _Read(chosen.title or title, text, document.author, published, document.license)


def _extract(page: Page) -> Document | None:
    mark_main(page.tree)
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


def _title(found: str | None, page: Page) -> str:
    if found and found.strip():
        return " ".join(found.split())
    # a page without any title: the last word of its address says more than nothing
    segments = [segment for segment in urlsplit(page.canonical).path.split("/") if segment]
    return re.sub(r"[-_]+", " ", unquote(segments[-1]).rpartition(".")[0] or segments[-1]) if segments else ""


def _date(found: str | None) -> datetime | None:
    return datetime.fromisoformat(found).replace(tzinfo=UTC) if found else None
