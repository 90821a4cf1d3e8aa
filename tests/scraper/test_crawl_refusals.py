"""One crawl of a site full of oddities: what is stored, what is refused, and what is never asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crawl_runs import CrawlRun, Web, crawl_config, run_crawl
from html_pages import document, prose

from textmill.articles import ArticleStore

HTML = {"Content-Type": "text/html"}
DATABASE = "test-oddities"


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
        "too large": 1,
        "not HTML": 1,
        "robots.txt": 1,
    }


def test_articles_stand_under_their_canonical_urls(odd_crawl: OddCrawl) -> None:
    web, _, _, store = odd_crawl
    stored = {url.removeprefix(web.url) for url in store.articles.distinct("url")}
    assert stored - {"/plain", "/same-text"} == {"/moved-to", "/whole", "/nowhere", "/tagged"}
    assert len(stored) == 5
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
    assert (second.counts["odd"]["unchanged"], store.versions.count_documents({})) == (5, 5)
