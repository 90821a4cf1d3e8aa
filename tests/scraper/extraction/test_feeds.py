import gzip

import pytest
from html_pages import document, prose

from scraper.extraction.feeds import UrlList, read_list

RSS = b"""<?xml version="1.0"?><rss version="2.0"><channel><link>http://a.org/</link>
<image><url>http://a.org/logo.png</url></image>
<item><title>One</title><link> http://a.org/1 </link><guid isPermaLink="false">x</guid></item>
<item><guid>http://a.org/2</guid></item><item><title>without a link</title></item></channel></rss>"""
RSS_1 = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<item rdf:about="http://a.org/1"><link>http://a.org/1</link></item></rdf:RDF>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><link href="http://a.org/"/>
<entry><link rel="edit" href="http://a.org/edit"/><link href="/1"/><id>urn:1</id></entry></feed>"""
SITEMAP = b"""\xef\xbb\xbf<?xml version="1.0"?><!-- by hand --><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"><url><loc>http://a.org/1</loc><image:image>
<image:loc>http://a.org/1.png</image:loc></image:image></url><url><loc>http://a.org/2?a=1&amp;b=2</loc></url></urlset>"""
INDEX = b"""<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
<sitemap><loc>http://a.org/s1.xml.gz</loc><lastmod>2026-01-01</lastmod></sitemap></sitemapindex>"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (RSS, UrlList(["http://a.org/1", "http://a.org/2"], [])),
        (RSS_1, UrlList(["http://a.org/1"], [])),
        (ATOM, UrlList(["/1"], [])),
        (SITEMAP, UrlList(["http://a.org/1", "http://a.org/2?a=1&b=2"], [])),
        (gzip.compress(SITEMAP), UrlList(["http://a.org/1", "http://a.org/2?a=1&b=2"], [])),
        (INDEX, UrlList([], ["http://a.org/s1.xml.gz"])),
    ],
)
def test_lists_are_told_by_their_content(body: bytes, expected: UrlList) -> None:
    assert read_list(body) == expected


@pytest.mark.parametrize(
    "body",
    [document(prose()).encode(), b"", b"plain", b"\x1f\x8bnot gzip", b"<html><body><feed>x</feed></body></html>"],
)
def test_other_content_is_no_list(body: bytes) -> None:
    assert read_list(body) is None


def test_entities_of_a_hostile_feed_are_not_expanded() -> None:
    bomb = (
        b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/hostname">]><rss><item><link>http://a.org/&a;</link></item></rss>'
    )
    found = read_list(bomb)
    assert found is not None
    assert found.pages in ([], ["http://a.org/"])


def test_broken_feed_gives_what_can_be_read() -> None:
    assert read_list(RSS[: RSS.index(b"<item><guid>")]) == UrlList(["http://a.org/1"], [])
