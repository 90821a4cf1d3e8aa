"""The spider: crawls a configured source from its start, a page, feed or sitemap."""

import hashlib
import re
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from gzip import BadGzipFile
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import CloseSpider, DownloadCancelledError, IgnoreRequest
from scrapy.http import HtmlResponse, Response
from twisted.python.failure import Failure

from scraper.extraction.article import Answer, Refused
from scraper.extraction.feeds import LIST_BYTES, UrlList, read_list
from scraper.extraction.listings import is_likely_place
from scraper.extraction.page import OWN_NAME
from scraper.extraction.readers import Readers, Task
from scraper.extraction.rights import PageTerms, SiteTerms
from scraper.extraction.urls import normalise, resolve, same_page, site_of
from scraper.items import Found, Known, NotModified
from scraper.middlewares import OffSite
from scraper.spiders.failures import forbidden, is_forbidden, no_answer, off_to, status_answer, stopped_answering
from scraper.spiders.responses import headers_of, record_of, rights_in, rules_of, text_of
from scraper.spiders.user_agent import robots_name
from scraper.storage.article_writer import ArticleWriter
from scraper.storage.counts import CrawlCounts
from textmill.articles.article import key_of, now
from textmill.settings.sites import Crawl, Source

SILENCES = 10  # pages in a row that do not answer, after which the site is taken to be down
START_PATIENCE_S = 10  # for the first answer of a site
REDIRECTS = 5  # at the start, one after another

Output = Iterator[Request | Found | NotModified]
AsyncOutput = AsyncIterator[Request | Found | NotModified]


class SiteSpider(Spider):
    """Fetches the pages of one source and yields their articles.

    Attributes:
        site: host (and port) of the start.
        sites: the hosts that the crawl may visit.
        terms: by host and port, its terms for the use of its texts.
        agents: names in lower case by which pages may address this robot.
        no_rules: why robots.txt could not be read, if so.
    """

    name = "site"

    def __init__(
        self,
        source: Source,
        settings_of_crawl: Crawl,
        counts: CrawlCounts,
        writer: ArticleWriter,
        readers: Readers,
        on_progress: Callable[[int], None],
    ) -> None:
        """Prepare a crawl.

        Args:
            counts: where the crawl counts refused pages.
            writer: receives the articles from the pipeline.
            readers: the processes that read pages.
            on_progress: called after each page with the number of pages known so far.
        """
        super().__init__(name=source.name)
        self.source, self.crawl_settings = source, settings_of_crawl
        self.counts, self.writer, self.readers, self.on_progress = counts, writer, readers, on_progress
        self.site = site_of(source.start)
        self.sites = {self.site, *(site_of(f"http://{host}/") for host in source.hosts)}
        self.terms: dict[str, SiteTerms] = defaultdict(SiteTerms)
        self.agents = tuple(dict.fromkeys((OWN_NAME, robots_name(settings_of_crawl.user_agent).lower())))
        self.no_rules: Exception | str | None = None
        self._include = [re.compile(pattern) for pattern in source.include]
        self._exclude = [re.compile(pattern) for pattern in source.exclude]
        self._seen: set[str] = set()
        self._asked = 0  # pages requested; those that robots.txt then forbids do not count against max_pages
        self._silences = 0
        self._rules = rules_of(source, settings_of_crawl)
        self._follows_links = True  # not where the source is a feed or a sitemap: it says which pages there are

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> "SiteSpider":
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.page_broke, signal=signals.spider_error)
        return spider

    async def start(self) -> AsyncIterator[Request]:
        self.counts.started = now()
        yield self._start_request(normalise(self.source.start), 0)

    def terms_on(self, url: str) -> PageTerms:
        """What the site says of a page. Its robots.txt and tdmrep.json have been read before the page is requested."""
        return self.terms[urlsplit(url).netloc].on(url, self.agents)

    def _rules_on(self, url: str) -> str:
        """A hash of all that decides what a page's article holds, beside the page."""
        terms = self.terms_on(url)
        says_nothing = terms == PageTerms(agents=self.agents)
        return self._rules if says_nothing else hashlib.sha256(f"{self._rules} {terms}".encode()).hexdigest()[:16]

    async def known(self, url: str) -> Known | None:
        """The stored record of a page, if a 304 response would be enough."""
        known = await self.writer.known(url)
        if known is None or known.rules != self._rules_on(url) or not (known.etag or known.modified):
            return None
        age = now() - known.fetched
        return known if age < timedelta(days=self.crawl_settings.full_days) else None

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

    async def parse_start(self, response: Response, redirects: int) -> AsyncOutput:
        """Handle the first page. Its failure is the failure of the source."""
        target = _redirect_target(response)
        if target:
            self.counts.pages += 1
            if site_of(target) not in self.sites or redirects == REDIRECTS:
                self.counts.fail(off_to(self.source, target))
            else:
                yield self._start_request(target, redirects + 1)
        elif response.status >= HTTPStatus.BAD_REQUEST:
            self._done()
            self.counts.fail(status_answer(self.source, response.status))
        else:
            self._follows_links = read_list(response.body) is None
            async for each in self.parse(response):
                yield each

    def start_failed(self, failure: Failure) -> None:
        """The first request failed or is forbidden by robots.txt."""
        self._done()
        if not failure.check(IgnoreRequest):
            self.counts.fail(no_answer(self.source, failure.value))
        elif isinstance(self.no_rules, Exception):
            self.counts.fail(no_answer(self.source, self.no_rules))
        else:
            self.counts.fail(forbidden(self.source, self.no_rules))

    async def parse(self, response: Response) -> AsyncOutput:
        """Handle one response: an article, a list of pages, a redirect or a refusal."""
        self._silences = 0
        self._done()
        target = _redirect_target(response)
        entries = read_list(response.body) if response.status == HTTPStatus.OK else None
        fits = response.status == HTTPStatus.OK and len(response.body) <= self.crawl_settings.page_bytes
        if fits and not entries and isinstance(response, HtmlResponse):
            async for each in self._parse_page(response):
                yield each
        else:
            for each in self._parse_other(response, target, entries):
                yield each

    def _parse_other(self, response: Response, target: str | None, entries: UrlList | None) -> Output:
        """Handle any response that is not HTML."""
        if target:
            yield from self._ask([target])
        elif response.status == HTTPStatus.NOT_MODIFIED and "known" in response.meta:
            yield from self._parse_unchanged(response)
        elif response.status != HTTPStatus.OK:
            self._refuse(response.url, f"error status {response.status}")
        elif entries:
            yield from self._follow_list(entries, response)
        else:
            large = len(response.body) > self.crawl_settings.page_bytes
            self._refuse(response.url, "too large" if large else "not HTML")

    def _parse_unchanged(self, response: Response) -> Output:
        known: Known = response.meta["known"]
        said = headers_of(response)
        if (rights := rights_in(said)) and rights != known.rights:
            # what may be done with the text has changed, though the text has not
            yield self._request(response.url, self.parse, self.page_failed, self.crawl_settings.page_bytes, {})
            return
        if self._follows_links:
            yield from self._follow_links(known.links, response)
        yield NotModified(normalise(response.url), known)

    async def _parse_page(self, response: HtmlResponse) -> AsyncOutput:
        headers, wanted = headers_of(response), self._is_included(normalise(response.url))
        sites = self.sites if self._follows_links else ()
        answer = Answer(now(), headers, self.terms_on(response.url))
        min_words = self.crawl_settings.min_words
        task = Task(text_of(response), response.url, self.source, min_words, answer, sites, wanted)
        read = await self.readers.read(task)
        for request in self._follow_links(read.links, response):
            yield request
        if read.article is None:
            self._refuse(read.url, "not included")
        elif isinstance(read.article, Refused):
            self._refuse(read.url, read.article.reason)
        elif self._is_excluded(read.article.url):
            self._refuse(read.url, "excluded")
        else:
            is_alias = not same_page(read.article.url, read.url)
            for request in self._ask([read.article.url]) if is_alias else ():
                yield request
            record = record_of(read.url, headers, read.links, self._rules_on(read.url), read.article.fetched)
            yield Found(read.article, is_alias, record)

    def _follow_links(self, links: Sequence[str], response: Response) -> Iterator[Request]:
        if response.meta.get("depth", 0) < self.source.depth:
            yield from self._ask(links)
        elif any(url not in self._seen and site_of(url) in self.sites for url in links):
            self.counts.cut_short = f"links more than {self.source.depth} steps away not followed (depth)"

    def _follow_list(self, entries: UrlList, response: Response) -> Iterator[Request]:
        for addresses, max_bytes in ((entries.pages, self.crawl_settings.page_bytes), (entries.lists, LIST_BYTES)):
            yield from self._ask((url for each in addresses if (url := resolve(response.url, each))), max_bytes)

    def _ask(self, urls: Iterable[str], max_bytes: int | None = None) -> Iterator[Request]:
        """Requests for those pages that are new to the crawl and allowed."""
        for url in urls:
            if url in self._seen or site_of(url) not in self.sites:
                continue
            if self._asked - self.counts.refused["robots.txt"] >= self.source.max_pages:
                self.counts.cut_short = f"stopped at {self.source.max_pages} pages (max_pages)"
                return
            self._seen.add(url)
            if reason := self._unwanted(url):
                self._refuse(url, reason)
                continue
            self._asked += 1
            meta = {} if max_bytes or is_likely_place(url) else {"conditional": True}
            yield self._request(url, self.parse, self.page_failed, max_bytes or self.crawl_settings.page_bytes, meta)

    def _unwanted(self, url: str) -> str | None:
        if self.writer.forgotten and key_of(url) in self.writer.forgotten:
            return "forgotten"
        return "excluded" if self._is_excluded(url) else None

    def page_failed(self, failure: Failure) -> None:
        """Handle a page that does not answer.

        Raises:
            CloseSpider: too many failures in a row.
        """
        self._done()
        url = failure.request.url  # type: ignore[attr-defined]
        if is_forbidden(failure.value):
            self._refuse(url, "robots.txt")
        elif failure.check(OffSite):
            self._refuse(url, "other site")
        elif failure.check(DownloadCancelledError, IgnoreRequest):
            self._refuse(url, "too large")
        elif failure.check(BadGzipFile, EOFError, zlib.error):  # of the body: it does not unpack
            self._refuse(url, "unreadable")
        else:
            self._refuse(url, "no answer")
            self._silences += 1
            if self._silences == SILENCES:
                self.counts.fail(stopped_answering(self.source, self.counts.pages, failure.value))
                self.writer.complete = False
                raise CloseSpider("the site stopped answering")

    def page_broke(self, failure: Failure, response: Response | Failure, **_: Any) -> None:
        """Handle a failed extraction. Scrapy has logged the traceback."""
        if isinstance(response, Response):
            self._refuse(response.url, "unreadable")

    def _done(self) -> None:
        self.counts.pages += 1
        self.on_progress(self._asked)

    def _refuse(self, url: str, reason: str) -> None:
        self.writer.refuse(normalise(url), reason)

    def _is_included(self, url: str) -> bool:
        return not self._include or any(pattern.search(url) for pattern in self._include)

    def _is_excluded(self, url: str) -> bool:
        return any(pattern.search(url) for pattern in self._exclude)


def _redirect_target(response: Response) -> str | None:
    location = response.headers.get("Location")
    if location is None or response.status not in (301, 302, 303, 307, 308):
        return None
    return resolve(response.url, location.decode("utf-8", "replace"))
