"""Parse pages, a crawl's slowest work, in the crawl's process or in child processes."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from lxml.etree import ParserError

from scraper.extraction.article import Answer, Refused, article_of
from scraper.extraction.page import Page
from scraper.extraction.urls import normalise
from textmill.articles.article import Article
from textmill.console import progress
from textmill.settings.sites import Source

PAGES_ALONE = 200  # read by the crawl itself: for fewer, starting a process takes longer than it saves
_STARTING = 100  # pages before that, as a process takes seconds to import what it needs


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading an HTML page.

    Attributes:
        url: its normalised URL.
        links: the pages that it links to, each once; empty if not requested.
        article: None if not requested.
    """

    url: str
    links: tuple[str, ...]
    article: Article | Refused | None


@dataclass(frozen=True, slots=True)
class Task:
    """An HTML page to read.

    Attributes:
        sites: the hosts whose links to collect.
        wanted: whether to extract its article.
    """

    html: str
    url: str
    source: Source
    min_words: int
    answer: Answer
    sites: Collection[str]
    wanted: bool


def read_page(task: Task) -> Reading:
    """Read a page."""
    try:
        page = Page(task.html, task.url)
    except ParserError:
        return Reading(normalise(task.url), (), Refused("too short"))
    # the links before the article, which changes the tree
    links = tuple(dict.fromkeys(page.links(task.sites))) if task.sites else ()
    article = article_of(page, task.source, task.min_words, task.answer) if task.wanted else None
    return Reading(page.url, links, article)


class Readers:
    """Processes that read pages. They start once there is enough to read, and exit with the crawl."""

    def __init__(self, processes: int | None) -> None:
        """Prepare them.

        Args:
            processes: their number; None: one fewer than the cores; 0: read in the crawl's process.
        """
        self._processes = len(os.sched_getaffinity(0)) - 1 if processes is None else processes
        self._alone = PAGES_ALONE if processes is None else 0
        self._pool: ProcessPoolExecutor | None = None

    async def read(self, task: Task) -> Reading:
        """Read a page. A page that crashes its reader is refused."""
        if self._processes == 0 or self._alone > 0:
            self._alone -= 1
            if self._processes and self._alone == _STARTING:
                self._pool = self._start()
                self._pool.submit(os.getpid)  # a process is started with its first work
            return read_page(task)
        pool = self._pool = self._pool or self._start()
        try:
            return await asyncio.wrap_future(pool.submit(read_page, task))
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            return Reading(normalise(task.url), (), Refused("unreadable"))

    def _start(self) -> ProcessPoolExecutor:
        # spawned, as a fork would copy the reactor and the store's threads in whatever state they are
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, context, _begin, (os.getpid(),))

    def close(self) -> None:
        """Stop the processes."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _begin(parent: int) -> None:
    """A reader exits with the crawl and ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.be_silent()
    progress.follow_parent()
    if os.getppid() != parent:
        os._exit(0)
