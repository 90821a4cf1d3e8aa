"""What a site permits is recorded when it changes, and for each of its hosts."""

from collections.abc import Callable
from typing import Any

import pytest
from crawl_runs import Web
from html_pages import document, prose

from textmill.articles.store import ArticleStore

Crawl = Callable[..., Any]
MakeWeb = Callable[[], Web]

LD = '<script type="application/ld+json">{"@type": "Article", %s}</script>'
# what comes to a page's head, to its headers and to robots.txt, and what is then stored
CHANGES: dict[str, tuple[str, dict[str, str], str, dict[str, str]]] = {
    "meta": ('<meta name="robots" content="noai">', {}, "", {"robots": "allowed, noai"}),
    "header": ("", {"X-Robots-Tag": "noai"}, "", {"robots": "allowed, noai"}),
    "tdm": ("", {"tdm-reservation": "1"}, "", {"reserved": "TDMRep"}),
    "signal": ("", {}, "Content-Signal: ai-train=no\n", {"reserved": "Content-Signal ai-train=no"}),
    "usage": ("", {"Content-Usage": "train-ai=n"}, "", {"reserved": "Content-Usage train-ai=n"}),
    "robot": ("", {}, "User-agent: GPTBot\nDisallow: /\n", {"reserved": "robots.txt forbids GPTBot"}),
    "licence": (LD % '"license": "CC-BY-4.0"', {}, "", {"licence": "CC-BY-4.0"}),
    "author": ('<meta name="author" content="Anna Miller">', {}, "", {"author": "Anna Miller"}),
}


def page(number: int, head: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    html = document(f"<article><h1>Day {number}</h1>{prose(3, number)}</article>", head=head, title=f"Day {number}")
    return 200, {"Content-Type": "text/html; charset=utf-8", **headers}, html.encode()


def test_a_page_whose_text_stays_but_says_something_else_is_updated(
    make_web: MakeWeb, crawl: Crawl, store: ArticleStore
) -> None:
    webs = {name: make_web() for name in CHANGES}
    for web in webs.values():
        # the same ETag throughout: only the site's terms and the headers of an answer without a body tell
        web.pages |= {"/": document('<a href="/1">Day 1</a>'), "/1": page(1, ETag='"1"')}
    sources = [{"name": name, "start": f"{web.url}/"} for name, web in webs.items()]
    crawl(*sources)
    assert store.versions.count_documents({"reserved": None, "robots": "allowed"}) == len(CHANGES)
    for name, (head, headers, rules, _) in CHANGES.items():
        webs[name].pages["/1"] = page(1, head, ETag='"2"' if head else '"1"', **headers)
        webs[name].pages["/robots.txt"] = f"User-agent: *\nAllow: /\n\n{rules}"
    run = crawl(*sources)
    assert {name: run.counts[name]["changed"] for name in CHANGES} == dict.fromkeys(CHANGES, 1)
    for name, (_, _, _, stored) in CHANGES.items():
        version = store.versions.find_one({"source": name, "valid_to": None})
        assert version is not None
        assert {key: version[key] for key in stored} == stored
    again = crawl(*sources)
    assert {name: again.counts[name]["not_modified"] for name in CHANGES} == dict.fromkeys(CHANGES, 1)


def test_each_host_speaks_for_its_own_pages(make_web: MakeWeb, crawl: Crawl, store: ArticleStore) -> None:
    main, other = make_web(), make_web()
    main.pages |= {
        "/robots.txt": "Content-Signal: ai-train=no\nUser-agent: *\nAllow: /\n",
        "/": document(f'<a href="/1">Day 1</a> <a href="{other.url}/2">Day 2</a>'),
        "/1": page(1),
    }
    other.pages |= {
        "/robots.txt": "User-agent: *\nAllow: /\n",
        "/.well-known/tdmrep.json": '[{"location": "/*", "tdm-reservation": 1}]',
        "/2": page(20),
    }
    crawl({"name": "mill", "start": f"{main.url}/", "hosts": [other.url.removeprefix("http://")]})
    reserved = {version["url"]: version["reserved"] for version in store.versions.find()}
    assert reserved == {f"{main.url}/1": "Content-Signal ai-train=no", f"{other.url}/2": "TDMRep"}


def test_rules_on_another_host_are_followed(make_web: MakeWeb, crawl: Crawl, store: ArticleStore) -> None:
    main, rules = make_web(), make_web()
    rules.pages["/rules.txt"] = "Content-Signal: ai-train=no\nUser-agent: *\nDisallow: /private\n"
    main.pages |= {
        "/robots.txt": (302, {"Location": f"{rules.url}/rules.txt"}, b""),
        "/": document('<a href="/1">Day 1</a> <a href="/private">Day 2</a>'),
        "/1": page(1),
        "/private": page(20),
    }
    run = crawl({"name": "mill", "start": f"{main.url}/"})
    assert run.counts["mill"]["refused"]["robots.txt"] == 1
    assert [version["reserved"] for version in store.versions.find()] == ["Content-Signal ai-train=no"]


@pytest.mark.parametrize("address", ["http://10.255.255.1/robots.txt", "http://[::ffff:10.0.0.1]/robots.txt"])
def test_rules_in_a_private_network_are_not_fetched(make_web: MakeWeb, crawl: Crawl, address: str) -> None:
    web = make_web()
    web.pages |= {
        "/robots.txt": (302, {"Location": address}, b""),
        "/": document('<a href="/1">Day 1</a>'),
        "/1": page(1),
    }
    run = crawl({"name": "mill", "start": f"{web.url}/"})
    assert run.code == 2 and f"{address} is not on 127.0.0.1" in run.failure
