"""One parsed HTML page: its tree, links and metadata."""

import re
from collections.abc import Collection, Iterator

from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring
from w3lib.html import get_meta_refresh

from scraper.extraction.urls import canonical_url, normalise, resolve, same_page, site_of

OWN_NAME = "textmill"  # by which pages and headers address this robot, beside the name that it is configured with
# parts of a page that are about the site, not about the page
CHROME_TAGS = frozenset(("nav", "header", "footer", "aside", "dialog", "button", "script", "style", "noscript"))
CHROME_ROLES = frozenset(
    ("navigation", "banner", "contentinfo", "complementary", "search", "dialog", "alertdialog", "menu")
)
_NOT_PAGES = re.compile(
    r"\.(?:7z|aac|apk|avi|avif|bmp|bz2|css|csv|deb|dmg|docx?|eot|epub|exe|flac|gif|gz|ico|ics|iso|jar|jpe?g|js|json|m4[av]"
    r"|mobi|mov|mp[34]|mpe?g|ods|odt|og[agv]|otf|pdf|png|pptx?|ps|rar|rpm|svg|tar|tgz|tiff?|ttf|wav|web[mp]|wmv|woff2?"
    r"|xlsx?|xz|zip)$",
    re.I,
)
_LISTS = re.compile(r"\.xml(?:\.gz)?$", re.I)


class Page:
    """A parsed HTML page.

    Attributes:
        url: normalised URL of the response.
        canonical: the article's URL, if this page is an article.
        tree: the root element.
    """

    def __init__(self, html: str, url: str) -> None:
        """Parse a page.

        Raises:
            lxml.etree.ParserError: the document is empty.
        """
        # bytes, as lxml refuses text whose XML declaration names an encoding; NUL would end the document
        source = html.replace("\x00", "").encode("utf-8", "replace")
        # a comment would end the text of its paragraph
        self.tree: HtmlElement = document_fromstring(
            source, parser=HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
        )
        self.url = normalise(url)
        self._refresh = get_meta_refresh(html, url)[1]
        base = self.tree.find(".//base[@href]")
        self._base = resolve(url, base.get("href")) if base is not None else None
        self.canonical = canonical_url(self.url, self._canonical())

    def _canonical(self) -> str | None:
        for link in self.tree.iter("link"):
            if "canonical" in link.get("rel", "").lower().split():
                return resolve(self._base or self.url, link.get("href", ""))
        return None

    def target(self, link: HtmlElement) -> str | None:
        """The normalised URL of an `a` element; None if it is not a web page."""
        href = link.get("href")
        return resolve(self._base or self.url, href) if href else None

    def leads_elsewhere(self, link: HtmlElement) -> bool:
        """Whether a link leads to another page of the same site."""
        target = self.target(link)
        if target is None or site_of(target) != site_of(self.url):
            return False
        return not same_page(target, self.url) and not same_page(target, self.canonical)

    def stays_here(self, link: HtmlElement) -> bool:
        """Whether a link leads to a section of this page."""
        href = link.get("href") or ""
        target = self.target(link) if "#" in href else None
        return target is not None and same_page(target, self.url)

    def links(self, sites: Collection[str] = ()) -> Iterator[str]:
        """Normalised URLs that robots may follow, on these sites or the page's own, in page order."""
        if "nofollow" in self.directives():
            return
        sites = sites or (site_of(self.url),)
        for link in self.tree.iter("a", "area"):
            target = self.target(link)
            if target and "nofollow" not in link.get("rel", "").lower().split() and _is_followed(target, sites):
                yield target
        refresh = resolve(self.url, self._refresh) if self._refresh else None
        if refresh and _is_followed(refresh, sites):
            yield refresh

    def directives(self, agents: Collection[str] = (OWN_NAME,)) -> set[str]:
        """The directives of the page's robots meta elements, such as 'noindex' and 'nofollow'.

        Args:
            agents: names in lower case by which the page may address this robot.
        """
        words: set[str] = set()
        for meta in self.tree.iter("meta"):
            if meta.get("name", "").lower() in ("robots", *agents):
                words.update(word.strip() for word in meta.get("content", "").lower().split(","))
        return words

    def language(self) -> str | None:
        """The page's declared language, two letters; None if it declares none."""
        root = self.tree
        declared = [root.get(name, "") for name in ("lang", "xml:lang", "{http://www.w3.org/XML/1998/namespace}lang")]
        for meta in root.iter("meta"):
            kind = (meta.get("http-equiv") or meta.get("property") or meta.get("name") or "").lower()
            if kind in ("content-language", "og:locale", "language", "dc.language"):
                declared.append(meta.get("content", ""))
        codes = (re.match(r"\s*([a-z]{2})(?![a-z])", each.lower()) for each in declared)
        return next((code.group(1) for code in codes if code), None)


def _is_followed(target: str, sites: Collection[str]) -> bool:
    path = target.partition("?")[0]
    return site_of(target) in sites and (bool(_LISTS.search(path)) or not _NOT_PAGES.search(path))


def in_chrome(element: etree._Element) -> bool:
    """Whether an element belongs to the site's chrome."""
    return any(is_chrome(each) for each in (element, *element.iterancestors()))


def is_chrome(element: etree._Element) -> bool:
    return element.tag in CHROME_TAGS or element.get("role") in CHROME_ROLES
