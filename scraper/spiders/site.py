"""The one spider: it follows a configured source from its start, be that a page, a feed or a sitemap."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from lxml.etree import ParserError
from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import CloseSpider, DownloadCancelledError, IgnoreRequest
from scrapy.http import HtmlResponse, Response
from twisted.python.failure import Failure

from scraper.counts import CrawlCounts
from scraper.extraction import Refused, article_of
from scraper.feeds import LIST_BYTES, UrlList, read_list
from scraper.items import Found
from scraper.page import Page
from scraper.spiders.failures import forbidden, is_forbidden, no_answer, off_to, status_answer, stopped_answering
from scraper.urls import normalise, resolve, same_page, site_of
from scraper.writing import ArticleWriter
from textmill.articles import now
from textmill.settings import Crawl, Source

SILENCES = 10  # pages in a row that do not answer, after which the site is taken to be down
START_PATIENCE_S = 10  # for the first answer of a site
REDIRECTS = 5  # at the start, one after another

Output = Iterator[Request | Found]


class SiteSpider(Spider):
    """Fetches the pages of one source and yields what articles they give.

    Attributes:
        site: host (and port) that the crawl keeps to.
        no_rules: why robots.txt could not be had, if so.
    """

    name = "site"

    def __init__(
        self,
        source: Source,
        settings_of_crawl: Crawl,
        counts: CrawlCounts,
        writer: ArticleWriter,
        on_progress: Callable[[int], None],
    ) -> None:
        """Prepare a crawl.

        Args:
            counts: what the crawl adds its refusals to.
            writer: where the pipeline brings the articles.
            on_progress: called after each page with the number of pages known so far.
        """
        super().__init__(name=source.name)
        self.source, self.crawl_settings = source, settings_of_crawl
        self.counts, self.writer, self.on_progress = counts, writer, on_progress
        self.site = site_of(source.start)
        self.no_rules: Exception | str | None = None
        self._include = [re.compile(pattern) for pattern in source.include]
        self._exclude = [re.compile(pattern) for pattern in source.exclude]
        self._seen: set[str] = set()
        self._asked = 0  # pages requested; those that robots.txt then forbids do not count against max_pages
        self._silences = 0
        self._follows_links = True  # not where the source is a feed or a sitemap: it says which pages there are

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> "SiteSpider":
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.page_broke, signal=signals.spider_error)
        return spider

    async def start(self) -> AsyncIterator[Request]:
        yield self._start_request(normalise(self.source.start), 0)

    def _start_request(self, url: str, redirects: int) -> Request:
        self._seen.add(url)
        self._asked += 1
        meta = {"download_timeout": START_PATIENCE_S, "max_retry_times": 1}
        return self._request(url, self.parse_start, self.start_failed, LIST_BYTES, meta, redirects=redirects)

    def _request(
        self,
        url: str,
        callback: Callable[..., Any],
        errback: Callable[[Failure], Any],
        max_bytes: int,
        meta: dict[str, Any],
        **arguments: Any,
    ) -> Request:
        # every status comes to the callback, redirects too: they are links, and subject to the same rules
        meta = {**meta, "handle_httpstatus_all": True, "dont_redirect": True, "download_maxsize": max_bytes}
        return Request(url, callback, errback=errback, meta=meta, dont_filter=True, cb_kwargs=arguments)

    def parse_start(self, response: Response, redirects: int) -> Output:
        """The first page: what is wrong with it is wrong with the whole source."""
        target = _redirect_target(response)
        if target:
            self.counts.pages += 1
            if site_of(target) != self.site or redirects == REDIRECTS:
                self.counts.failure = off_to(self.source, target)
            else:
                yield self._start_request(target, redirects + 1)
        elif response.status >= HTTPStatus.BAD_REQUEST:
            self._done()
            self.counts.failure = status_answer(self.source, response.status)
        else:
            self._follows_links = read_list(response.body) is None
            yield from self.parse(response)

    def start_failed(self, failure: Failure) -> None:
        """No answer to the first request, or none wanted by robots.txt."""
        self._done()
        if not failure.check(IgnoreRequest):
            self.counts.failure = no_answer(self.source, failure.value)
        elif isinstance(self.no_rules, Exception):
            self.counts.failure = no_answer(self.source, self.no_rules)
        else:
            self.counts.failure = forbidden(self.source, self.no_rules)

    def parse(self, response: Response) -> Output:
        """One answer: an article, a list of pages, a redirect, or something refused."""
        self._silences = 0
        self._done()
        target = _redirect_target(response)
        entries = read_list(response.body) if response.status == HTTPStatus.OK else None
        if target:
            yield from self._ask([target])
        elif response.status != HTTPStatus.OK:
            self._refuse(f"error status {response.status}")
        elif entries:
            yield from self._follow_list(entries, response)
        elif len(response.body) > self.crawl_settings.page_bytes:
            self._refuse("too large")
        elif isinstance(response, HtmlResponse):
            yield from self._parse_page(response)
        else:
            self._refuse("not HTML")

    def _parse_page(self, response: HtmlResponse) -> Output:
        try:
            page = Page(response.text, response.url)
        except ParserError:
            self._refuse("too short")
            return
        if self._follows_links:
            # the tree is read before the article is taken from it, which changes it
            yield from list(self._follow_links(page, response))
        if not self._is_included(page.url):
            self._refuse("not included")
            return
        article = article_of(page, self.source.name, self.crawl_settings.min_words, now())
        if isinstance(article, Refused):
            self._refuse(article.reason)
        elif self._is_excluded(article.url):
            self._refuse("excluded")
        else:
            is_alias = not same_page(article.url, page.url)
            if is_alias:
                yield from self._ask([article.url])
            yield Found(article, is_alias)

    def _follow_links(self, page: Page, response: Response) -> Iterator[Request]:
        if response.meta.get("depth", 0) < self.source.depth:
            yield from self._ask(page.links())
        elif any(url not in self._seen for url in page.links()):
            self.counts.cut_short = f"links more than {self.source.depth} steps away not followed (depth)"

    def _follow_list(self, entries: UrlList, response: Response) -> Iterator[Request]:
        for addresses, max_bytes in ((entries.pages, self.crawl_settings.page_bytes), (entries.lists, LIST_BYTES)):
            yield from self._ask((url for each in addresses if (url := resolve(response.url, each))), max_bytes)

    def _ask(self, urls: Iterable[str], max_bytes: int | None = None) -> Iterator[Request]:
        """Requests for the pages among these that the crawl has not met and may fetch."""
        for url in urls:
            if url in self._seen or site_of(url) != self.site:
                continue
            if self._asked - self.counts.refused["robots.txt"] >= self.source.max_pages:
                self.counts.cut_short = f"stopped at {self.source.max_pages} pages (max_pages)"
                return
            self._seen.add(url)
            if self._is_excluded(url):
                self._refuse("excluded")
                continue
            self._asked += 1
            yield self._request(url, self.parse, self.page_failed, max_bytes or self.crawl_settings.page_bytes, {})

    def page_failed(self, failure: Failure) -> None:
        """A page without an answer.

        Raises:
            CloseSpider: too many in a row.
        """
        self._done()
        if is_forbidden(failure.value):
            self._refuse("robots.txt")
        elif failure.check(DownloadCancelledError, IgnoreRequest):
            self._refuse("too large")
        else:
            self._refuse("no answer")
            self._silences += 1
            if self._silences == SILENCES:
                self.counts.failure = stopped_answering(self.source, self.counts.pages, failure.value)
                self.writer.complete = False
                raise CloseSpider("the site stopped answering")

    def page_broke(self, failure: Failure, **_: Any) -> None:
        """A page on which the extraction failed; Scrapy has written the traceback to the log."""
        self._refuse("unreadable")

    def _done(self) -> None:
        self.counts.pages += 1
        self.on_progress(self._asked)

    def _refuse(self, reason: str) -> None:
        self.counts.refused[reason] += 1

    def _is_included(self, url: str) -> bool:
        return not self._include or any(pattern.search(url) for pattern in self._include)

    def _is_excluded(self, url: str) -> bool:
        return any(pattern.search(url) for pattern in self._exclude)


def _redirect_target(response: Response) -> str | None:
    location = response.headers.get("Location")
    if location is None or response.status not in (301, 302, 303, 307, 308):
        return None
    return resolve(response.url, location.decode("utf-8", "replace"))
