"""Extract an article's parts by the CSS selectors of its source's configuration."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import dateparser
from lxml.cssselect import CSSSelector
from lxml.html import HtmlElement

from scraper.extraction.page import Page, in_chrome
from textmill.settings.sites import Source

_BLOCKS = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "blockquote", "pre", "dt", "dd", "td", "th", "figcaption")


def selected_text(page: Page, source: Source) -> list[str] | None:
    """The paragraphs that `text_selector` finds; None if it is not set or finds nothing."""
    if not source.text_selector:
        return None
    paragraphs = [text for element in _found(page, source.text_selector) for text in _paragraphs(element)]
    return paragraphs or None


def selected(page: Page, selector: str) -> str | None:
    """The text of the first element that a selector finds; None for an empty selector or text."""
    for element in _found(page, selector) if selector else ():
        text = " ".join((element.get("content") or element.text_content()).split())
        if text:
            return text
    return None


def selected_date(page: Page, selector: str) -> datetime | None:
    """The date in the first element that a selector finds, in UTC; None if there is none."""
    for element in _found(page, selector) if selector else ():
        said = element.get("datetime") or element.get("content") or element.text_content()
        if found := _date_of(" ".join(said.split())):
            return found
    return None


def _date_of(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime, dateparser.parse):
        try:
            found = read(text)
        except (ValueError, TypeError, OverflowError):
            continue
        if found:
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def _found(page: Page, selector: str) -> list[HtmlElement]:
    return list(CSSSelector(selector, translator="html")(page.tree))


def _paragraphs(element: HtmlElement) -> list[str]:
    """The text of an element's innermost blocks, or of the element if it has none."""
    blocks = [b for b in element.iter(*_BLOCKS) if next(b.iterdescendants(*_BLOCKS), None) is None and not in_chrome(b)]
    texts = (" ".join(block.text_content().split()) for block in blocks or [element])
    return [text for text in texts if text]
