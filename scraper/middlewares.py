"""Scrapy middlewares: stay on the site, obey robots.txt and its delay, retry, conditional requests."""

import asyncio
import logging
from collections.abc import Collection
from typing import Any
from urllib.parse import urljoin, urlsplit

from scrapy import Request, signals
from scrapy.core.downloader import Slot
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.extensions.throttle import AutoThrottle
from scrapy.http import Response, TextResponse
from scrapy.http.request import NO_CALLBACK
from scrapy.robotstxt import RobotParser

from scraper.extraction.rights import TDMREP_PATH, SiteTerms
from scraper.extraction.urls import is_loopback, is_private, site_of

_log = logging.getLogger(__name__)
ROBOTS_PATH = "/robots.txt"
ROBOTS_PATIENCE_S = 10  # without an answer by then, the site is down
TERMS_PATIENCE_S = 10
TERMS_PRIORITY = 1000  # before any page

FIRST_BACKOFF_S = 0.5  # before the first repetition
MAX_BACKOFF_S = 60

_FORBID_ALL = b"User-agent: *\nDisallow: /\n"


class OffSite(IgnoreRequest):
    """A request to another site."""


class SameSite:
    """Refuses requests and redirects to other sites than the source's."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "SameSite":
        return cls(crawler)

    def process_request(self, request: Request) -> None:
        if not self._is_allowed(request):
            raise OffSite(f"{request.url} is not on {self._crawler.spider.site}")  # type: ignore[union-attr]
        if is_loopback(request.url):
            request.meta.setdefault("proxy", None)  # no proxy can reach this machine's own servers

    def _is_allowed(self, request: Request) -> bool:
        sites: Collection[str] = self._crawler.spider.sites  # type: ignore[union-attr]
        if site_of(request.url) in sites:
            return True
        # robots.txt may stand on another host (RFC 9309, 2.3.1.2), though not on this machine or a private network
        host = urlsplit(request.url).hostname or ""
        named = {urlsplit(f"//{site}").hostname for site in sites}
        is_public = not is_loopback(request.url) and not is_private(host)
        return _asks_for_rules(request) and (is_public or host in named)


class Conditional:
    """Makes requests for known pages conditional on a change (ETag, Last-Modified)."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "Conditional":
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        spider: Any = self._crawler.spider
        known = await spider.known(request.url) if request.meta.get("conditional") else None
        if known:
            request.meta["known"] = known
            if known.etag:
                request.headers["If-None-Match"] = known.etag
            if known.modified:
                request.headers["If-Modified-Since"] = known.modified


class Backoff(RetryMiddleware):
    """Waits before a retry: twice as long each time, or as long as the site's Retry-After says."""

    # Scrapy awaits what is a coroutine, which its own annotations leave out
    async def process_response(self, request: Request, response: Response) -> Request | Response:  # type: ignore[override]
        again = super().process_response(request, response)
        if isinstance(again, Request):
            asked = (response.headers.get("Retry-After") or b"").decode("latin-1")
            await self._wait(request, float(asked) if asked.isdecimal() else 0)
        return again

    async def process_exception(  # type: ignore[override]
        self, request: Request, exception: Exception
    ) -> Request | Response | None:
        again = super().process_exception(request, exception)
        if again:
            await self._wait(request, 0)
        return again

    async def _wait(self, request: Request, asked_s: float) -> None:
        wait_s = FIRST_BACKOFF_S * 2 ** request.meta.get("retry_times", 0)
        await asyncio.sleep(min(max(wait_s, asked_s), MAX_BACKOFF_S))


class RobotsAnswer:
    """Handles a missing robots.txt by RFC 9309 (2.3.1): 4xx allows everything; 5xx or no answer, nothing."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "RobotsAnswer":
        return cls(crawler)

    def process_request(self, request: Request) -> None:
        if _asks_for_rules(request):
            request.meta.setdefault("download_timeout", ROBOTS_PATIENCE_S)
            request.meta.setdefault("max_retry_times", 1)

    def process_response(self, request: Request, response: Response) -> Response:
        if not _asks_for_rules(request) or response.status < 400:
            if _asks_for_rules(request) and response.status == 200:
                asked = request.meta.get("redirect_urls", [request.url])[0]
                terms: SiteTerms = self._crawler.spider.terms[urlsplit(asked).netloc]  # type: ignore[union-attr]
                terms.read_robots(response.body.decode("utf-8-sig", "ignore"))
            return response
        if response.status < 500:
            return response.replace(body=b"")
        self._crawler.spider.no_rules = f"{ROBOTS_PATH} answers {response.status}"  # type: ignore[union-attr]
        return response.replace(body=_FORBID_ALL)

    def process_exception(self, request: Request, exception: Exception) -> Response | None:
        if not _asks_for_rules(request):
            return None
        self._crawler.spider.no_rules = exception  # type: ignore[union-attr]
        return TextResponse(request.url, body=_FORBID_ALL, request=request)


def _asks_for_rules(request: Request) -> bool:
    asked = request.meta.get("redirect_urls", [request.url])[0]
    return bool(request.meta.get("dont_obey_robotstxt")) and asked.endswith(ROBOTS_PATH)


class TermsFirst:
    """Reads an origin's tdmrep.json before its first page: it says what may be done with it."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._read: dict[str, asyncio.Task[None]] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "TermsFirst":
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        if request.meta.get("dont_obey_robotstxt") or request.meta.get("asks_for_terms"):
            return
        origin = urlsplit(request.url).netloc
        if origin not in self._read:
            self._read[origin] = asyncio.ensure_future(self._ask(request.url, origin))
        await self._read[origin]

    async def _ask(self, url: str, origin: str) -> None:
        meta = {"download_timeout": TERMS_PATIENCE_S, "max_retry_times": 0, "dont_redirect": True}
        meta |= {"handle_httpstatus_all": True, "asks_for_terms": True}
        request = Request(urljoin(url, TDMREP_PATH), meta=meta, callback=NO_CALLBACK, priority=TERMS_PRIORITY)
        try:
            response = await self._crawler.engine.download_async(request)
        except Exception as error:  # whatever keeps it from answering: it states nothing, and the crawl goes on
            _log.info("%s states no terms: it did not answer (%s)", request.url, type(error).__name__)
            self._crawler.stats.inc_value("terms/unanswered")
            return
        if response.status == 200:
            terms: SiteTerms = self._crawler.spider.terms[origin]  # type: ignore[union-attr]
            terms.read_tdmrep(response.body.decode("utf-8-sig", "replace"))


class Throttle(AutoThrottle):
    """AutoThrottle, never faster than robots.txt's Crawl-delay; off for your own sites (delay 0).

    A configured delay of 0 marks your own site. There, the latency that AutoThrottle measures would be mostly the
    crawl's own.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._asked_s = 0.0
        crawler.signals.connect(self.robots_parsed, signal=signals.robots_parsed)

    def _adjust_delay(self, slot: Slot, latency: float, response: Response) -> None:
        if self._min_delay() > 0:
            super()._adjust_delay(slot, latency, response)

    def _min_delay(self) -> float:
        return max(float(super()._min_delay()), self._asked_s)

    def robots_parsed(self, robotparser: RobotParser, **_: Any) -> None:
        asked = robotparser.crawl_delay(self.crawler.settings["ROBOTSTXT_USER_AGENT"])
        if asked:
            self._asked_s = float(asked)
            self.mindelay = self._min_delay()
            self.maxdelay = max(self.maxdelay, self.mindelay)
            for slot in self.crawler.engine.downloader.slots.values():
                slot.delay = max(slot.delay, self._asked_s)
