"""What keeps a crawl on its site and in its bounds: the same host, robots.txt, its delay, patience, conditions."""

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
    """A request that would have left the site."""


class SameSite:
    """Refuses every request to another site than the source's own, redirected ones included."""

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
    """Asks for a known page on condition that it has changed."""

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
    """Waits before a page is asked for again: twice as long each time, or as long as the site asks."""

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
    """Reads the absence of a robots.txt as RFC 9309 does (2.3.1): 4xx forbids nothing; 5xx or silence, everything."""

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
    """Scrapy's AutoThrottle, never faster than the Crawl-delay of a site's robots.txt; off for a site of one's own.

    A configured delay of 0 says that the site is one's own. There, what AutoThrottle takes for the site's slowness would
    mostly be the crawl's.
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
