"""Crawls, one site after another, on Twisted's asyncio reactor, which a process can start once."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from scrapy.crawler import AsyncCrawlerRunner
from scrapy.settings import Settings
from scrapy.utils.log import configure_logging
from scrapy.utils.reactor import install_reactor

from scraper import settings as site_settings
from scraper.counts import CrawlCounts
from scraper.duplicates import Duplicates
from scraper.spiders.failures import no_article
from scraper.spiders.site import SiteSpider
from scraper.writing import ArticleWriter, stored_texts
from textmill import progress
from textmill.articles import ArticleStore
from textmill.settings import Config, Crawl, Source

GRACE_S = 5  # for pages under way, when the crawl is interrupted


def settings_for(crawl: Crawl, log_file: Path | None) -> Settings:
    """Scrapy's settings: those of every site, with what the configuration says on top."""
    settings = Settings()
    settings.setmodule(site_settings, priority="project")
    configured = {
        "USER_AGENT": crawl.user_agent,
        # the name alone: rules for 'github' are not meant for an address within ours
        "ROBOTSTXT_USER_AGENT": crawl.user_agent.split("/")[0].split("(")[0].strip(),
        "DOWNLOAD_DELAY": crawl.delay_s,
        "RANDOMIZE_DOWNLOAD_DELAY": False,  # it may not fall below what robots.txt asks
        "CONCURRENT_REQUESTS": crawl.concurrency,  # more would wait in the downloader, and delay an interruption
        "CONCURRENT_REQUESTS_PER_DOMAIN": crawl.concurrency,
        "DOWNLOAD_MAXSIZE": crawl.page_bytes,
        "LOG_FILE": str(log_file) if log_file else None,
    }
    settings.setdict(configured, priority="cmdline")
    return settings


def run(config: Config, store: ArticleStore, log_file: Path | None) -> dict[str, CrawlCounts]:
    """Crawl every configured source.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came; what had been fetched is stored.
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
    crawls = _Crawls(config, store, AsyncCrawlerRunner(settings))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, crawls.interrupted.set)
    task = loop.create_task(crawls.run())
    task.add_done_callback(lambda _: reactor.stop())
    reactor.run(installSignalHandlers=False)
    counts = task.result()
    if crawls.interrupted.is_set():
        raise KeyboardInterrupt
    return counts


class _Crawls:
    """The sources' crawls, and the wish to end them."""

    def __init__(self, config: Config, store: ArticleStore, runner: AsyncCrawlerRunner) -> None:
        self._config = config
        self._store = store
        self._runner = runner
        self.interrupted = asyncio.Event()

    async def run(self) -> dict[str, CrawlCounts]:
        counts: dict[str, CrawlCounts] = {}
        for source in self._config.sources:
            progress.step(f"Crawling {source.name}")
            counts[source.name] = await self._crawl(source)
            if self.interrupted.is_set():
                break
            if not counts[source.name].failure or len(self._config.sources) > 1:  # or else the failure is all there is
                progress.result(counts[source.name].summary())
        return counts

    async def _crawl(self, source: Source) -> CrawlCounts:
        counts = CrawlCounts()
        stored = await asyncio.to_thread(stored_texts, self._store, source.name)
        stop = asyncio.Event()
        writer = ArticleWriter(self._store, Duplicates(stored), counts, on_failure=stop.set)

        def show(known: int) -> None:
            progress.report(counts.pages, known, f"{counts.new + counts.changed} new, {counts.unchanged} unchanged")

        crawl = self._runner.crawl(SiteSpider, source, self._config.crawl, counts, writer, show)
        await self._until_done(crawl, stop, writer)
        await writer.finish()
        if writer.failure:
            raise writer.failure
        if not counts.articles and not counts.failure:
            counts.failure = no_article(source, counts.reasons(), self._config.crawl.min_words)
        return counts

    async def _until_done(self, crawl: asyncio.Task[None], stop: asyncio.Event, writer: ArticleWriter) -> None:
        """Wait for a crawl; ask it to end, and wait no longer than the grace, when a reason to stop comes up."""
        reasons = [asyncio.ensure_future(event.wait()) for event in (self.interrupted, stop)]
        await asyncio.wait([crawl, *reasons], return_when=asyncio.FIRST_COMPLETED)
        if not crawl.done():
            writer.complete = False
            await asyncio.wait([asyncio.ensure_future(self._runner.stop()), crawl], timeout=GRACE_S)
        for reason in reasons:
            reason.cancel()
        if crawl.done():
            crawl.result()
