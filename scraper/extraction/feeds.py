"""RSS and Atom feeds, sitemaps and sitemap indexes, recognised by their content.

Formats: RSS 0.9x, 1.0 and 2.0; Atom (RFC 4287); sitemaps.org 0.9. Any of them may be gzipped.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree
from scrapy.utils.gz import gunzip

LIST_BYTES = 50 * 1024 * 1024  # a sitemap's greatest size, unpacked, by sitemaps.org

_GZIP = b"\x1f\x8b"
_ROOT = re.compile(rb"<(?:[\w.-]+:)?(rss|feed|RDF|urlset|sitemapindex)[\s>]")
_ENCODING = re.compile(rb"\sencoding=[\"'][\w.-]+[\"']")
_HEAD = 2048  # bytes in which the root element must begin, after a declaration and comments


@dataclass(frozen=True, slots=True)
class UrlList:
    """The addresses in a feed or a sitemap, unchanged."""

    pages: list[str]
    lists: list[str]  # further sitemaps, of a sitemap index


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
    root = _ROOT.search(body[:_HEAD])
    if root is None or b"<html" in body[: root.start()].lower():
        return None
    found = list(_addresses(body))
    return UrlList([url for kind, url in found if kind != "sitemap"], [url for kind, url in found if kind == "sitemap"])


def _addresses(body: bytes) -> Iterator[tuple[str, str]]:
    """Each entry's kind (item, entry, url or sitemap) and its address."""
    events = etree.iterparse(
        io.BytesIO(body), events=("end",), recover=True, resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        for _, element in events:
            kind = _name(element)
            if kind in ("item", "entry", "url", "sitemap"):
                address = _address(element)
                if address:
                    yield kind, address
                element.clear()
    except etree.XMLSyntaxError:  # beyond recovery: what stood before it holds
        return


def _address(entry: etree._Element) -> str | None:
    """An entry's page: <loc>, Atom's alternate link, RSS's <link>, or a <guid> that is a link."""
    permalink = None
    for child in entry:
        name, text = _name(child), (child.text or "").strip()
        if name == "loc":
            return text
        if name == "link" and child.get("href") and child.get("rel", "alternate") == "alternate":
            return child.get("href")
        if name == "link" and text:
            return text
        if name == "guid" and child.get("isPermaLink", "true") == "true" and text.startswith("http"):
            permalink = text
    return permalink


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
