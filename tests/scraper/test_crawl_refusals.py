"""One crawl of a site full of oddities: what is stored, what is refused, and what is never asked for."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
from crawl_runs import CrawlRun, Web, crawl_config, run_crawl
from html_pages import document, prose

from textmill.articles.sources import refused
from textmill.articles.store import ArticleStore

HTML = {"Content-Type": "text/html"}
DATABASE = "test-oddities"
WALL = "We and our partners use cookies and personal data, for which we need your consent, to show advertising. " * 6


def article(first: int, head: str = "") -> str:
    return document(f"<article><h1>Day {first}</h1>{prose(3, first)}</article>", head, title=f"Day {first}")


@pytest.fixture(scope="module")
def odd_crawl(
    make_web: Callable[[], Web], mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Web, Web, CrawlRun, ArticleStore]:
    web, elsewhere = make_web(), make_web()
    links = [
        "/plain",
        "/moved",
        "/off",
        "/print",
        "/lost-canonical",
        "/same-text",
        "/gone",
        "/big",
        "/data",
        "/secret/1",
        "/tagged?utm_source=home",
        "/tagged",
        f"{elsewhere.url}/away",
        "http://192.168.0.1/router",
        "http://localhost:1/",
        "/circle-1",
        "/huge",
        "/gzip-bomb",
        "/brotli-bomb",
        "/half-gzip",
        "/windows",
        "/tomorrow",
        "/no-such-page",
        "/wall",
        "/broken.xml",
        "/no-html",
    ]
    anchors = "".join(f'<p><a href="{link}">{link}</a></p>' for link in links)
    web.pages |= {
        "/": (302, {"Location": "/start"}, b""),
        "/start": document(anchors),
        "/robots.txt": "User-agent: github\nDisallow: /\n\nUser-agent: textmill\nDisallow: /secret/\nCrawl-delay: 0.01\n",
        "/plain": article(1),
        "/moved": (301, {"Location": "/moved-to"}, b""),
        "/moved-to": article(10),
        "/off": (302, {"Location": f"{elsewhere.url}/off"}, b""),
        "/print": article(20, '<link rel="canonical" href="/whole">'),
        "/whole": article(21),
        "/lost-canonical": article(30, '<link rel="canonical" href="/nowhere">'),
        "/same-text": article(1),
        "/big": (200, HTML, b"<p>" + b"x " * 60_000),
        "/data": (200, {"Content-Type": "application/octet-stream"}, bytes(range(256))),
        "/tagged": article(40, '<link rel="canonical" href="https://elsewhere.example/tagged">'),
        "/circle-1": (302, {"Location": "/circle-2"}, b""),
        "/circle-2": (302, {"Location": "/circle-1"}, b""),
        "/huge": (200, HTML, b"<p>" + b"x " * 5_000_000),
        "/gzip-bomb": (200, {**HTML, "Content-Encoding": "gzip"}, gzip.compress(b"x " * 5_000_000)),
        "/brotli-bomb": (200, {**HTML, "Content-Encoding": "br"}, brotli.compress(b"x " * 5_000_000, quality=1)),
        "/half-gzip": (200, {**HTML, "Content-Encoding": "gzip"}, b"\x1f\x8b\x08" + bytes(20)),
        "/windows": (
            200,
            {"Content-Type": "text/html; charset=utf-8"},
            article(60).replace("Day", "Mühle").encode("cp1252"),
        ),
        "/tomorrow": article(70, '<meta property="article:published_time" content="2999-01-01">'),
        "/no-such-page": document(f"<h1>Page not found</h1>{prose(2, 80)}", title="Page not found"),
        "/wall": document(f"<article><h1>Welcome</h1><p>{WALL}</p></article>", title="Welcome"),
        "/broken.xml": (
            200,
            {"Content-Type": "text/xml"},
            b"<rss><channel><item><link>/in-feed</link></item><item><li",
        ),
        "/in-feed": article(90),
        "/no-html": (200, HTML, b"\x00\x01\x02" * 300),
    }
    folder = tmp_path_factory.mktemp("oddities")
    config = crawl_config(
        DATABASE, {"name": "odd", "start": f"{web.url}/", "exclude": ["/excluded"]}, page_bytes=50_000
    )
    return web, elsewhere, run_crawl(folder, mongodb_uri, config), ArticleStore.connect(mongodb_uri, DATABASE)


OddCrawl = tuple[Web, Web, CrawlRun, ArticleStore]


def test_every_refused_page_is_counted_under_its_reason(odd_crawl: OddCrawl) -> None:
    run = odd_crawl[2]
    assert run.code == 0, run.output
    assert run.counts["odd"]["refused"] == {
        "listing": 1,
        "duplicate": 2,  # the print view, and one of the two with the same text
        "error status 404": 3,  # one of them in the navigation
        "too large": 4,  # two of them only when unpacked
        "not HTML": 1,
        "robots.txt": 1,
        "unreadable": 1,
        "error page": 1,
        "consent page": 1,
        "too short": 1,
    }


def test_refused_pages_are_kept_with_their_reasons(odd_crawl: OddCrawl) -> None:
    web, _, run, store = odd_crawl
    listed = [(reason, url.removeprefix(web.url)) for reason, url in refused(store, "odd")]
    assert {("consent page", "/wall"), ("error page", "/no-such-page"), ("too large", "/gzip-bomb")} <= set(listed)
    assert {("robots.txt", "/secret/1"), ("error status 404", "/gone"), ("unreadable", "/half-gzip")} <= set(listed)
    assert len(listed) == sum(run.counts["odd"]["refused"].values())


def test_wrong_charset_is_read_and_a_date_from_the_future_is_not(odd_crawl: OddCrawl) -> None:
    web, _, _, store = odd_crawl
    versions = {version["url"].removeprefix(web.url): version for version in store.versions.find()}
    assert versions["/windows"]["title"] == "Mühle 60"
    assert versions["/tomorrow"]["published"] is None


def test_articles_stand_under_their_canonical_urls(odd_crawl: OddCrawl) -> None:
    web, _, _, store = odd_crawl
    stored = {url.removeprefix(web.url) for url in store.articles.distinct("url")}
    expected = {"/moved-to", "/whole", "/nowhere", "/tagged", "/windows", "/tomorrow", "/in-feed"}
    assert stored - {"/plain", "/same-text"} == expected
    assert len(stored) == len(expected) + 1
    assert "On day 21 " in (store.versions.find_one({"url": f"{web.url}/whole"}) or {})["text"]


def test_other_sites_and_forbidden_pages_are_never_asked_for(odd_crawl: OddCrawl) -> None:
    web, elsewhere, _, _ = odd_crawl
    assert elsewhere.asked == []
    assert not [path for path in web.asked if path.startswith("/secret")]


def test_each_page_is_asked_for_once(odd_crawl: OddCrawl) -> None:
    web, *_ = odd_crawl
    assert len(web.asked) == len(set(web.asked))


def test_second_crawl_of_the_oddities_changes_nothing(odd_crawl: OddCrawl, mongodb_uri: str, tmp_path: Path) -> None:
    web, _, first, store = odd_crawl
    config: dict[str, Any] = crawl_config(DATABASE, {"name": "odd", "start": f"{web.url}/"}, page_bytes=50_000)
    second = run_crawl(tmp_path, mongodb_uri, config)
    assert second.counts["odd"]["refused"] == first.counts["odd"]["refused"]
    assert (second.counts["odd"]["unchanged"], store.versions.count_documents({})) == (8, 8)
