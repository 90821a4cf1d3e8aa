from html_pages import document, prose

from scraper.extraction.page import Page

URL = "http://example.org/days/first.html"


def test_links_are_the_pages_of_the_same_site() -> None:
    body = """<a href="second.html#top">two</a> <a href="/third?utm_source=x">three</a> <a href="//www.example.org/4">four</a>
    <a href="http://other.org/">other</a> <a href="http://example.org:8080/">port</a> <a href="http://192.168.0.1/">router</a>
    <a href="mailto:a@b.c">post</a> <a href="wheel.jpg">picture</a> <a href="book.pdf">book</a> <a href="sitemap.xml.gz">map</a>
    <a href="/reply?to=3" rel="nofollow">reply</a> <a>name</a>"""
    links = list(Page(f"<html><body>{body}</body></html>", URL).links())
    assert links == [
        "http://example.org/days/second.html",
        "http://example.org/third",
        "http://www.example.org/4",
        "http://example.org/days/sitemap.xml.gz",
    ]


def test_links_start_from_the_declared_base() -> None:
    page = Page('<html><head><base href="/archive/"></head><body><a href="one">x</a></body></html>', URL)
    assert list(page.links()) == ["http://example.org/archive/one"]


def test_links_of_a_page_that_forbids_it_are_not_followed() -> None:
    page = Page(document('<a href="/x">x</a>', head='<meta name="robots" content="noindex, NoFollow">'), URL)
    assert list(page.links()) == []


def test_refresh_is_a_link() -> None:
    page = Page('<html><head><meta http-equiv="refresh" content="0; url=/en/"></head><body>x</body></html>', URL)
    assert list(page.links()) == ["http://example.org/en/"]


def test_language_is_what_the_page_says() -> None:
    assert Page(document(prose()), URL).language() == "en"
    assert Page("<html><body>x</body></html>", URL).language() is None
    meta = '<html><head><meta http-equiv="Content-Language" content="de-AT"></head><body>x</body></html>'
    assert Page(meta, URL).language() == "de"


def test_page_with_an_xml_declaration_and_nul_is_read() -> None:
    page = Page('<?xml version="1.0" encoding="iso-8859-1"?><html lang="da"><body><p>Mø\x00lle</p></body></html>', URL)
    assert page.tree.findtext(".//p") == "Mølle"
