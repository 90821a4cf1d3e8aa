"""Crawl several sites at once on Twisted's asyncio reactor, once per process."""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pymongo.errors import PyMongoError
from scrapy.crawler import AsyncCrawlerRunner
from scrapy.settings import Settings
from scrapy.utils.log import configure_logging
from scrapy.utils.reactor import install_reactor

from scraper import settings as site_settings
from scraper.extraction.readers import Readers
from scraper.extraction.urls import site_of
from scraper.spiders.failures import no_article
from scraper.spiders.private_networks import GuardedResolver
from scraper.spiders.site import SiteSpider
from scraper.spiders.user_agent import robots_name
from scraper.storage.article_writer import ArticleWriter, store_stopped
from scraper.storage.collapse import CRAWLS, collapse
from scraper.storage.counts import CrawlCounts
from scraper.storage.crawl_store import CrawlStore
from textmill.console import progress
from textmill.settings.config import Config
from textmill.settings.sites import Crawl, Source

GRACE_S = 5  # for pages under way, when the crawl is interrupted


def settings_for(crawl: Crawl, log_file: Path | None) -> Settings:
    """Scrapy's settings: the common ones, overridden by the configuration."""
    settings = Settings()
    settings.setmodule(site_settings, priority="project")
    configured = {
        "USER_AGENT": crawl.user_agent,
        # the name alone: rules for 'github' are not meant for an address within ours
        "ROBOTSTXT_USER_AGENT": robots_name(crawl.user_agent),
        "DOWNLOAD_DELAY": crawl.delay_s,
        "RANDOMIZE_DOWNLOAD_DELAY": False,  # it may not fall below what robots.txt asks
        "CONCURRENT_REQUESTS": crawl.concurrency,  # more would wait in the downloader, and delay an interruption
        "CONCURRENT_REQUESTS_PER_DOMAIN": crawl.concurrency,
        "DOWNLOAD_MAXSIZE": crawl.page_bytes,
        "AUTOTHROTTLE_START_DELAY": crawl.delay_s,
        "AUTOTHROTTLE_TARGET_CONCURRENCY": crawl.concurrency,
        "RETRY_TIMES": crawl.retries,
        "LOG_FILE": str(log_file) if log_file else None,
    }
    settings.setdict(configured, priority="cmdline")
    return settings


def run(config: Config, mongodb_uri: str, log_file: Path | None) -> dict[str, CrawlCounts]:
    """Crawl all configured sources.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came. Fetched articles are stored.
        UserError: the store stopped answering.
    """
    settings = settings_for(config.crawl, log_file)
    if log_file:
        log_file.parent.mkdir(parents=True, exist_ok=True)
    configure_logging(settings)
    install_reactor(settings["TWISTED_REACTOR"])
    from twisted.internet import reactor as installed  # only now: importing it installs one

    reactor: Any = installed
    loop = asyncio.get_event_loop()
    named = {name for source in config.sources for name in hosts_named(source)}
    reactor.installResolver(GuardedResolver(reactor, named, settings.getfloat("DNS_TIMEOUT")))
    crawls = _Crawls(config, mongodb_uri, AsyncCrawlerRunner(settings))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, crawls.interrupted.set)
    task = loop.create_task(crawls.run())
    task.add_done_callback(lambda _: reactor.stop())
    reactor.run(installSignalHandlers=False)
    counts = task.result()
    if crawls.interrupted.is_set():
        raise KeyboardInterrupt
    return counts


def hosts_named(source: Source) -> set[str]:
    """The hosts in a source's configuration, without ports, in lower case."""
    urls = [source.start, *(f"http://{host}/" for host in source.hosts)]
    return {host.lower() for url in urls if (host := urlsplit(url).hostname)}


class _Crawls:
    """The crawls of all sources, and the request to stop them."""

    def __init__(self, config: Config, mongodb_uri: str, runner: AsyncCrawlerRunner) -> None:
        self._config = config
        self._mongodb_uri = mongodb_uri
        self._runner = runner
        self._names = {source.name for source in config.sources}
        self._counts: dict[str, CrawlCounts] = {source.name: CrawlCounts() for source in config.sources}
        self._known: dict[str, int] = {}  # pages, by source
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by site: its sources take turns
        self._give_up = False
        self.interrupted = asyncio.Event()

    async def run(self) -> dict[str, CrawlCounts]:
        sources = self._config.sources
        progress.step(f"Crawling {sources[0].name if len(sources) == 1 else f'{len(sources)} sites'}")
        self._store = CrawlStore(self._mongodb_uri, self._config.store.database)
        self._readers = Readers(self._config.crawl.processes)
        self._places = asyncio.Semaphore(self._config.crawl.sites)
        try:
            await self._all(sources)
        finally:
            self._readers.close()
            await self._store.close()
        return {name: counts for name, counts in self._counts.items() if name in self._known}

    async def _all(self, sources: Sequence[Source]) -> None:
        tasks = [asyncio.ensure_future(self._in_turn(source)) for source in sources]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if pending:  # the store has failed, and fails for the others too
            self._give_up = True
            await self._runner.stop()
            await asyncio.wait(pending, timeout=GRACE_S)
        for task in done:
            task.result()

    async def _in_turn(self, source: Source) -> None:
        async with self._turns[site_of(source.start)], self._places:
            if self.interrupted.is_set() or self._give_up:
                return
            self._known[source.name] = 0
            counts = await self._crawl(source)
            if len(self._config.sources) == 1 and not counts.failure:
                progress.result(counts.summary())
            elif len(self._config.sources) > 1:  # or else the failure is all there is
                named = counts.failure is not None and not counts.articles
                progress.result(counts.summary() if named else f"{source.name}: {counts.summary()}")

    def _show(self) -> None:
        pages = sum(counts.pages for counts in self._counts.values())
        new = sum(counts.new + counts.changed for counts in self._counts.values())
        unchanged = sum(counts.unchanged for counts in self._counts.values())
        progress.report(pages, max(pages, sum(self._known.values())), f"{new} new, {unchanged} unchanged")

    async def _crawl(self, source: Source) -> CrawlCounts:
        counts, crawl_settings = self._counts[source.name], self._config.crawl
        stop = asyncio.Event()
        writer = ArticleWriter(self._store, source, counts, crawl_settings.min_words, self._names, stop.set)
        await writer.prepare()

        def show(known: int) -> None:
            self._known[source.name] = known
            self._show()

        crawl = self._runner.crawl(SiteSpider, source, crawl_settings, counts, writer, self._readers, show)
        await self._until_done(crawl, stop, writer)
        await writer.finish()
        if writer.failure:
            raise writer.failure
        if not counts.articles and not counts.failure:
            counts.failure = no_article(source, counts.reasons(), crawl_settings.min_words)
        try:
            await self._record(source, counts, writer.complete)
        except PyMongoError as error:
            raise store_stopped(error, counts.articles) from error
        return counts

    async def _record(self, source: Source, counts: CrawlCounts, complete: bool) -> None:
        """Add the crawl to its source's history. Quarantine the source if its output has collapsed."""
        answered = complete and not counts.site_failed
        if answered:
            released = await self._store.released(source.name)
            history = await self._store.history(source.name, released, CRAWLS)
            counts.collapse = collapse(history, counts.articles, counts.words)
            if counts.collapse:
                await self._store.quarantine(source.name, counts.collapse)
        # what has collapsed is not what is usual: it would make the next one look well
        values = {**counts.values(), "started": counts.started, "complete": answered and not counts.collapse}
        refused = values.pop("refused")  # reasons may hold dots and spaces, which are no names of fields
        values["refused"] = [{"reason": reason, "pages": pages} for reason, pages in sorted(refused.items())]
        await self._store.keep_crawl(source.name, values)

    async def _until_done(self, crawl: asyncio.Task[None], stop: asyncio.Event, writer: ArticleWriter) -> None:
        """Wait for a crawl. If asked to stop, end it and wait at most the grace period."""
        reasons = [asyncio.ensure_future(event.wait()) for event in (self.interrupted, stop)]
        await asyncio.wait([crawl, *reasons], return_when=asyncio.FIRST_COMPLETED)
        if not crawl.done():
            writer.complete = False
            await asyncio.wait([asyncio.ensure_future(self._runner.stop()), crawl], timeout=GRACE_S)
        for reason in reasons:
            reason.cancel()
        if crawl.done():
            crawl.result()
