"""Detect listing pages: pages that list other pages and have no article.

Three signs, independent of a site's class names: blocks headed by a link to another page (teasers); blocks that begin
with such a link (lists of titles); more linked words than other words.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from lxml import etree
from lxml.html import HtmlElement

from scraper.extraction.json_ld import nodes, types
from scraper.extraction.page import Page, in_chrome, is_chrome
from scraper.extraction.urls import is_home
from textmill.ground.words import count

TEASERS = 3  # headed blocks, at least, that make a list
LED_BLOCKS = 5  # blocks beginning with a link, at least, that make a list: prose has a few by chance
CONTENTS = 3  # links to a page's own sections, at least, that make a table of contents
CONTENTS_SHARE = 0.7  # of its words, the rest being its title and numbers

_ENDING = 40  # characters by which a block is found again in the extracted text
_INLINE = frozenset(("a", "span", "b", "strong", "em", "i", "small", "font"))
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_SAYS_LISTING = {"CollectionPage", "SearchResultsPage"}
_LISTING_PATH = re.compile(
    r"/(?:tags?|categor(?:y|ies)|authors?|labels?|page|search)(?:/[^/]+)?/?$|[?&](?:page|paged)=\d+"
)


def is_declared(page: Page) -> bool:
    """Whether the page's JSON-LD declares a collection."""
    return any(_SAYS_LISTING.intersection(types(node)) for node in nodes(page.tree))


def is_likely_place(url: str) -> bool:
    """Whether this URL is typical of a listing: a home page, a tag, page 3 of an archive."""
    return is_home(url) or bool(_LISTING_PATH.search(url))


def prune_teasers(page: Page) -> int:
    """Remove teasers of other pages from the tree. Returns their number."""
    total = count_words(page.tree)
    heads = [heading for heading in page.tree.iter(*HEADINGS) if _heads_teaser(page, heading)]
    holds: Counter[HtmlElement] = Counter(each for head in heads for each in (head, *head.iterancestors()))
    groups: dict[HtmlElement, list[HtmlElement]] = defaultdict(list)
    for head in heads:
        card = head
        while (parent := card.getparent()) is not None and holds[parent] == 1:
            card = parent
        # a block that holds half the page is the article itself, with one linked heading in it
        if parent is not None and 2 * count_words(card) <= total:
            groups[parent].append(card)
    cards = [card for group in groups.values() if len(group) > 1 for card in group]
    if len(cards) < TEASERS:
        return 0
    for card in cards:
        for part in _flat_teaser(card, set(cards)) if card.tag in HEADINGS else [card]:
            part.drop_tree()
    return len(cards)


def _heads_teaser(page: Page, heading: HtmlElement) -> bool:
    """Whether a heading is only a link to another page, or is inside one."""
    link = next(heading.iter("a"), None)
    if link is None:
        link = next(heading.iterancestors("a"), None)
    if link is None or in_chrome(heading) or not page.leads_elsewhere(link) or is_home(page.target(link) or ""):
        return False
    words = count_words(heading)
    return words > 0 and count_words(link) >= words


def _flat_teaser(heading: HtmlElement, cards: set[HtmlElement]) -> list[HtmlElement]:
    """A teaser without its own element: a heading and everything up to the next heading."""
    parts = [heading]
    for sibling in heading.itersiblings():
        if sibling in cards or sibling.tag in HEADINGS:
            break
        if isinstance(sibling.tag, str):
            parts.append(sibling)
    return parts


def prune_contents(page: Page) -> None:
    """Remove tables of contents from the tree: elements with little but this page's section names."""
    for element in list(page.tree.iter("div", "section", "ul", "ol", "dl", "p", "table")):
        if element.getparent() is None or in_chrome(element):  # within one that has just gone
            continue
        inner = [link for link in element.iter("a") if page.stays_here(link)]
        if len(inner) >= CONTENTS and sum(map(count_words, inner)) >= CONTENTS_SHARE * count_words(element):
            element.drop_tree()


def linked_words(page: Page) -> int:
    """Words in links to other pages of the site, without the site's chrome."""
    return sum(count_words(link) for link in _links_elsewhere(page))


def led_words(page: Page, text: str) -> int:
    """Words of an extracted text in lists whose blocks begin with links to other pages of the site.

    Args:
        page: the page of the text.
        text: the extracted text; other blocks, such as readers' comments, do not count.
    """
    flat = " ".join(text.split())
    most = 0
    for blocks in _led_blocks(page):
        endings = [" ".join(block.text_content().split())[-_ENDING:] for block in blocks]
        if len(blocks) >= LED_BLOCKS:
            most = max(most, sum(count_words(b) for b, end in zip(blocks, endings, strict=True) if end in flat))
    return most


def _links_elsewhere(page: Page) -> Iterator[HtmlElement]:
    return (link for link in page.tree.iter("a") if page.leads_elsewhere(link) and not in_chrome(link))


def _led_blocks(page: Page) -> Iterator[list[HtmlElement]]:
    """For each element of the page, its children that begin with a link to another page of the site."""
    leading: dict[HtmlElement, dict[HtmlElement, None]] = defaultdict(dict)  # a dict keeps the order, once each
    for link in _links_elsewhere(page):
        for block in (link, *link.iterancestors()):
            parent = block.getparent()
            if parent is None:
                break
            if block.tag not in _INLINE:
                leading[parent][block] = None
            if _has_text_before(parent, block):
                break
    yield from map(list, leading.values())


def _has_text_before(parent: HtmlElement, child: HtmlElement) -> bool:
    if (parent.text or "").strip():
        return True
    return any((before.tail or "").strip() or count_words(before) for before in child.itersiblings(preceding=True))


def count_words(element: etree._Element) -> int:
    """Words in an element and below it, without the site's chrome and comments."""
    words = count(element.text or "")
    for child in element:
        if isinstance(child.tag, str) and not is_chrome(child):
            words += count_words(child)
        words += count(child.tail or "")
    return words
