"""Scrapy middlewares: stay on the site, obey robots.txt and its delay, retry, conditional requests."""

import asyncio
from typing import Any

from scrapy import Request, signals
from scrapy.core.downloader import Slot
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.extensions.throttle import AutoThrottle
from scrapy.http import Response, TextResponse
from scrapy.robotstxt import RobotParser

from scraper.extraction.urls import is_loopback, site_of

ROBOTS_PATH = "/robots.txt"
ROBOTS_PATIENCE_S = 10  # without an answer by then, the site is down

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
        if site_of(request.url) not in self._crawler.spider.sites:  # type: ignore[union-attr]
            raise OffSite(f"{request.url} is not on {self._crawler.spider.site}")  # type: ignore[union-attr]
        if is_loopback(request.url):
            request.meta.setdefault("proxy", None)  # no proxy can reach this machine's own servers


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
                body = response.body.decode("utf-8-sig", "ignore")
                self._crawler.spider.terms.read_robots(body)  # type: ignore[union-attr]
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
    return bool(request.meta.get("dont_obey_robotstxt")) and request.url.endswith(ROBOTS_PATH)


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
