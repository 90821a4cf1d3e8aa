"""The writer: what a site repeats is taken out, and a store that fails for a while loses nothing."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from html_pages import paragraphs
from local_servers import free_port, start_store, stop

from scraper.items import Found, PageRecord
from scraper.storage.article_writer import ArticleWriter
from scraper.storage.counts import CrawlCounts
from scraper.storage.crawl_store import CrawlStore
from textmill.articles.article import Article
from textmill.articles.store import ArticleStore
from textmill.settings.sites import Source

SOURCE = Source(name="mill", start="http://mill.example/")
NOTICE = "Subscribe to our letter from the mill and read it every Sunday."
NAMES = {"mill"}


def found(number: int, *more: str) -> Found:
    text = "\n\n".join([*paragraphs(1, number), *more])
    url = f"http://mill.example/{number}"
    return Found(
        Article(url, "mill", f"Day {number}", text, datetime.now(UTC)), page=PageRecord(url, etag=f'"{number}"')
    )


async def write(uri: str, database: str, batch: list[Found]) -> CrawlCounts:
    counts, store = CrawlCounts(), CrawlStore(uri, database)
    writer = ArticleWriter(store, SOURCE, counts, 20, NAMES, lambda: None)
    await writer.prepare()
    for each in batch:
        await writer.add(each)
    await writer.finish()
    await store.close()
    assert writer.failure is None
    return counts


def texts(store: ArticleStore) -> dict[str, str]:
    return {version["url"]: version["text"] for version in store.versions.find({"valid_to": None})}


def test_a_paragraph_that_many_pages_of_a_site_share_is_taken_out_of_all_of_them(
    mongodb_uri: str, database: str, store: ArticleStore
) -> None:
    refrain = "This refrain stands in two articles and in no other one."
    pages = [found(n, NOTICE, *([refrain] if n < 2 else [])) for n in range(120)]
    bare = Found(Article("http://mill.example/wall", "mill", "Wall", NOTICE, datetime.now(UTC)))
    counts = asyncio.run(write(mongodb_uri, database, [*pages, bare]))
    assert (counts.new, counts.refused["repeated text only"]) == (120, 1)
    held = texts(store)
    assert len(held) == 120 and not [url for url, text in held.items() if NOTICE in text]
    assert sum(refrain in text for text in held.values()) == 2

    again = asyncio.run(write(mongodb_uri, database, pages))
    assert (again.new, again.changed, again.unchanged) == (0, 0, 120)


def test_a_repetition_that_shows_only_over_many_crawls_is_taken_out_of_the_articles_stored_before(
    mongodb_uri: str, database: str, store: ArticleStore
) -> None:
    for first in range(0, 12, 4):
        asyncio.run(write(mongodb_uri, database, [found(n, NOTICE) for n in range(first, first + 4)]))
        held = texts(store)
        assert sum(NOTICE in text for text in held.values()) == (first + 4 if first < 8 else 0)
    assert len(held) == 12
    assert store.versions.count_documents({}) == 24  # what was learned from before stays as it was


def test_a_batch_that_the_store_refuses_for_a_while_is_written_again(tmp_path: Path) -> None:
    port = free_port()
    server = start_store(tmp_path / "store", port)

    async def crawl() -> tuple[CrawlCounts, ArticleWriter]:
        nonlocal server
        counts, store = CrawlCounts(), CrawlStore(f"mongodb://127.0.0.1:{port}", "test")
        writer = ArticleWriter(store, SOURCE, counts, 20, NAMES, lambda: None)
        await writer.prepare()
        await writer.add(found(0))
        await writer.flush()
        server.kill()
        server.wait()
        for number in range(1, 9):
            await writer.add(found(number))
        writing = asyncio.create_task(writer.finish())
        await asyncio.sleep(0.1)  # the first attempt fails meanwhile
        server = await asyncio.to_thread(start_store, tmp_path / "store", port)
        await writing
        await store.close()
        return counts, writer

    counts, writer = asyncio.run(crawl())
    kept = ArticleStore.connect(f"mongodb://127.0.0.1:{port}", "test").articles.count_documents({})
    stop(server)
    assert (writer.failure, counts.new, kept) == (None, 9, 9)
