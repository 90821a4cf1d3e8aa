"""What a crawl says when a site, the store or the person ends it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crawl_runs import ROOT, CrawlRun, Web, crawl_command, crawl_config, run_crawl
from html_pages import document, prose
from local_servers import free_port, start_store

from textmill.articles.store import ArticleStore

Crawl = Callable[..., CrawlRun]
FORBID_ALL = "User-agent: *\nDisallow: /\n"


def link_farm(pages: int) -> dict[str, Any]:
    """A start page and many articles."""
    links = "".join(f'<p><a href="/{number}">Day {number}</a></p>' for number in range(pages))
    articles = {
        f"/{number}": document(f"<article><h1>Day {number}</h1>{prose(2, number)}</article>") for number in range(pages)
    }
    return {"/": document(links), **articles}


def test_failing_sites_are_reported_and_the_others_are_crawled(make_web: Callable[[], Web], crawl: Crawl) -> None:
    closed, forbidden, ruleless, empty, moved, good = (make_web() for _ in range(6))
    forbidden.pages["/robots.txt"] = FORBID_ALL
    ruleless.pages["/robots.txt"] = (503, {}, b"")
    empty.pages["/"] = document("<p>Nothing yet.</p>")
    moved.pages["/"] = (301, {"Location": "https://elsewhere.example/"}, b"")
    good.pages |= link_farm(2)
    run = crawl(
        {"name": "down", "start": "http://127.0.0.1:9/"},
        {"name": "unknown", "start": "http://no-such-host.invalid/"},
        {"name": "missing", "start": f"{closed.url}/start"},
        {"name": "forbidden", "start": f"{forbidden.url}/"},
        {"name": "ruleless", "start": f"{ruleless.url}/"},
        {"name": "empty", "start": f"{empty.url}/"},
        {"name": "moved", "start": f"{moved.url}/"},
        {"name": "good", "start": f"{good.url}/"},
    )
    assert (run.code, run.output) == (0, "")
    failures = [counts["failure"] for counts in run.counts.values()]
    for failure, words in zip(
        failures,
        [
            "at http://127.0.0.1:9/ does not answer (connection refused); check the address",
            "at http://no-such-host.invalid/ does not answer (unknown host)",
            f"answers 404 Not Found at {closed.url}/start; correct its 'start'",
            "it forbids it in its robots.txt; ask its owner",
            "(/robots.txt answers 503)",
            f"gave no article from {empty.url}/: 2 pages refused (1 listing, 1 error status 404); set 'start' to a page",
            "to https://elsewhere.example/, which is not followed",
        ],
        strict=False,
    ):
        assert words in failure
        assert failure in run.results
    assert failures[-1] is None
    assert run.counts["good"]["new"] == 2


def test_the_command_fails_where_every_site_does(crawl: Crawl) -> None:
    run = crawl({"name": "down", "start": "http://127.0.0.1:9/"})
    assert run.code == 2
    assert run.failure.startswith("The site 'down' at http://127.0.0.1:9/ does not answer")
    assert run.output.strip() == run.failure
    assert run.results == []


def test_store_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    config = crawl_config("test", {"name": "any", "start": "http://127.0.0.1:9/"})
    started = time.monotonic()
    run = run_crawl(tmp_path, "mongodb://miller:secret@127.0.0.1:9", config)
    assert (run.code, "secret" in run.output) == (2, False)
    assert "The article store at mongodb://127.0.0.1:9 does not answer" in run.failure
    assert time.monotonic() - started < 30  # which PyMongo alone would wait


def test_pattern_that_is_no_regular_expression_is_named(crawl: Crawl) -> None:
    run = crawl({"name": "any", "start": "http://127.0.0.1:9/", "exclude": ["*.html"]})
    assert (run.code, "'*.html', in 'include' or 'exclude' of the source 'any'" in run.failure) == (2, True)


def start_crawl(folder: Path, mongodb_uri: str, database: str, web: Web, delay_s: float) -> "subprocess.Popen[bytes]":
    """Begin a crawl of a site made for this test."""
    config = crawl_config(database, {"name": "slow", "start": f"{web.url}/"}, delay_s=delay_s)
    return subprocess.Popen(
        crawl_command(folder, config),
        cwd=ROOT,
        env=os.environ | {"TEXTMILL_MONGODB_URI": mongodb_uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for(pages: int, web: Web) -> None:
    """Wait until so many have been asked for, robots.txt and tdmrep.json among them."""
    deadline = time.monotonic() + 120
    while len(web.asked) < pages:
        assert time.monotonic() < deadline, web.asked
        time.sleep(0.02)


def test_interrupted_crawl_stores_what_it_fetched_and_the_next_one_goes_on(
    make_web: Callable[[], Web], mongodb_uri: str, database: str, store: ArticleStore, tmp_path: Path
) -> None:
    web = make_web()
    web.pages |= link_farm(40)
    web.hangs.add("/20")  # so that the crawl cannot come to its end before it is interrupted
    process = start_crawl(tmp_path, mongodb_uri, database, web, delay_s=0.2)
    wait_for(8, web)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    web.ended.set()

    assert (process.returncode, output) == (130, b"")
    stored = store.articles.count_documents({})
    assert 4 <= stored < 40

    run = run_crawl(tmp_path, mongodb_uri, crawl_config(database, {"name": "slow", "start": f"{web.url}/"}))
    assert (run.counts["slow"]["unchanged"], run.counts["slow"]["new"]) == (stored, 40 - stored)


def test_terminated_crawl_ends_within_the_grace_though_a_page_hangs(
    make_web: Callable[[], Web], mongodb_uri: str, database: str, store: ArticleStore, tmp_path: Path
) -> None:
    web = make_web()
    web.pages |= link_farm(6)
    web.hangs.add("/5")
    process = start_crawl(tmp_path, mongodb_uri, database, web, delay_s=0)
    wait_for(10, web)  # besides, the start, every page and what the navigation links
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=25)  # the page itself would be given up after 30 s
    assert (process.returncode, output) == (130, b"")
    assert store.articles.count_documents({}) >= 4


def test_store_that_dies_during_a_crawl_ends_it_with_a_sentence(
    make_web: Callable[[], Web], database: str, tmp_path: Path
) -> None:
    web, port = make_web(), free_port()
    web.pages |= link_farm(120)
    web.hangs.add("/60")  # so that the crawl cannot come to its end before the store dies
    server = start_store(tmp_path / "store", port)
    process = start_crawl(tmp_path, f"mongodb://127.0.0.1:{port}", database, web, delay_s=0.02)
    wait_for(30, web)
    server.kill()
    server.wait()
    web.ended.set()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert output.startswith(b"The article store stopped answering")
    assert output.count(b"\n") == 1
