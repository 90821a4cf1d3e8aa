"""RSS, Atom and JSON feeds, sitemaps and sitemap indexes, recognised by their content.

Formats: RSS 0.9x, 1.0 and 2.0; Atom (RFC 4287); JSON Feed 1.1; sitemaps.org 0.9. Any of them may be gzipped.
"""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

from lxml import etree
from scrapy.utils.gz import gunzip

LIST_BYTES = 50 * 1024 * 1024  # a sitemap's greatest size, unpacked, by sitemaps.org

_GZIP = b"\x1f\x8b"
_ROOT = re.compile(rb"<(?:[\w.-]+:)?(rss|feed|RDF|urlset|sitemapindex)[\s>]")
_JSON_FEED = re.compile(rb"\A\s*\{.*?\"version\"\s*:\s*\"https?:\\?/\\?/jsonfeed\.org\\?/version", re.S)
_ENCODING = re.compile(rb"\sencoding=[\"'][\w.-]+[\"']")
_BARE_AMPERSAND = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|&(?!(?:#\d+|#x[0-9a-f]+|[a-z][a-z0-9]*);)", re.I | re.S
)
_HEAD = 2048  # bytes in which the root element must begin, after a declaration and comments
_BASE = "{http://www.w3.org/XML/1998/namespace}base"
_ABOUT = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"
# an entry's links by what they lead to, best first; another type, such as JSON, only where there is nothing else
_PAGE_TYPES = ("text/html", "application/xhtml+xml", "")


@dataclass(frozen=True, slots=True)
class UrlList:
    """The addresses in a feed or a sitemap, unchanged."""

    pages: list[str]
    lists: list[str]  # further sitemaps, of a sitemap index, or a JSON feed's next part


def read_list(body: bytes) -> UrlList | None:
    """The entries of a feed or a sitemap; None if the body is neither."""
    if body.startswith(_GZIP):
        try:
            body = gunzip(body, max_size=LIST_BYTES)
        except (OSError, EOFError, ValueError):  # it only began like gzip, or unpacks beyond all measure
            return None
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        body = body.decode("utf-16", "replace").encode()
        body = _ENCODING.sub(b"", body, count=1)
    if _JSON_FEED.search(body[:_HEAD].removeprefix(b"\xef\xbb\xbf")):
        return _json_feed(body)
    root = _ROOT.search(body[:_HEAD])
    if root is None or b"<html" in body[: root.start()].lower():
        return None
    found = list(_addresses(_BARE_AMPERSAND.sub(_escaped, body)))
    return UrlList([url for kind, url in found if kind != "sitemap"], [url for kind, url in found if kind == "sitemap"])


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"&amp;" if found[0] == b"&" else found[0]


def _json_feed(body: bytes) -> UrlList | None:
    try:
        feed = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None
    items = feed.get("items")
    entries = [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
    links = (each.get("url") or each.get("external_url") or each.get("id") for each in entries)
    further = feed.get("next_url")
    return UrlList(
        [link for link in links if isinstance(link, str) and "/" in link], [further] if isinstance(further, str) else []
    )


def _addresses(body: bytes) -> Iterator[tuple[str, str]]:
    """Each entry's kind (item, entry, url or sitemap) and its address."""
    events = etree.iterparse(
        io.BytesIO(body), events=("end",), recover=True, resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        for _, element in events:
            kind = _name(element)
            if kind in ("item", "entry", "url", "sitemap"):
                address = _location(element) if kind in ("url", "sitemap") else _page(element)
                if address:
                    yield kind, _based(element, address)
                element.clear()
    except etree.XMLSyntaxError:  # beyond recovery: what stood before it holds
        return


def _location(entry: etree._Element) -> str | None:
    """The <loc> of a sitemap's entry; the links beside it lead to its translations."""
    return next(((child.text or "").strip() for child in entry if _name(child) == "loc"), None)


def _page(entry: etree._Element) -> str | None:
    """A feed entry's page: RSS's <link>, Atom's alternate link to a page, or a <guid> or an `about` that is a link."""
    permalink = entry.get(_ABOUT) or entry.get("about") or entry.get("rdf:about")
    alternates: dict[str, str] = {}
    for child in entry:
        name, text = _name(child), (child.text or "").strip()
        if name == "link" and child.get("href") and "alternate" in child.get("rel", "alternate").lower():
            kind = child.get("type", "").partition(";")[0].strip().lower()
            alternates.setdefault(kind, _based(child, child.get("href").strip()))
        elif name == "link" and text:
            return text
        elif name in ("guid", "origLink") and child.get("isPermaLink", "true") == "true" and text.startswith("http"):
            permalink = text
    best = next((alternates[kind] for kind in _PAGE_TYPES if kind in alternates), None)
    return best or permalink or next(iter(alternates.values()), None)


def _based(element: etree._Element, address: str) -> str:
    """An address in a list, resolved by the `xml:base` around it."""
    for each in (element, *element.iterancestors()):
        if base := each.get(_BASE) or each.get("xml:base"):
            try:
                address = urljoin(base, address)
            except ValueError:  # a base that is no address
                return address
    return address


def _name(element: etree._Element) -> str:
    """The local name, also where a prefix was never declared."""
    return element.tag.rpartition("}")[2].rpartition(":")[2] if isinstance(element.tag, str) else ""
