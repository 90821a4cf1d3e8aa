"""Pages read in processes of their own: the same articles, and no reader outlives a page that kills it or the crawl."""

import asyncio
import os
import signal
from datetime import UTC, datetime

from html_pages import document, prose

from scraper.extraction.article import Answer, Refused
from scraper.extraction.readers import Readers, Task, read_page
from textmill.articles.article import Article
from textmill.settings.sites import Source


def task(number: int) -> Task:
    html = document(f'<article><h1>Day {number}</h1>{prose(3, number)}</article><a href="/{number + 1}">On</a>')
    url = f"http://mill.example/{number}"
    source = Source(name="mill", start="http://mill.example/")
    return Task(html, url, source, 60, Answer(datetime(2026, 11, 1, tzinfo=UTC)), {"mill.example"}, wanted=True)


def test_readers_give_what_the_crawl_itself_would_and_survive_one_that_dies() -> None:
    async def crawl() -> None:
        readers = Readers(processes=1)
        tasks = [task(number) for number in range(6)]
        read = await asyncio.gather(*map(readers.read, tasks))
        assert read == [read_page(each) for each in tasks]
        assert isinstance(read[0].article, Article) and "http://mill.example/1" in read[0].links

        assert readers._pool
        (reader,) = readers._pool._processes
        os.kill(reader, signal.SIGKILL)
        lost = await readers.read(task(7))
        assert lost.article == Refused("unreadable")
        assert isinstance((await readers.read(task(8))).article, Article)
        readers.close()

    asyncio.run(crawl())
