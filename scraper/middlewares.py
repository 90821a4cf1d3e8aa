"""What keeps a crawl on its site and in its bounds: the same host, robots.txt, and the delay that it asks for."""

from typing import Any

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response, TextResponse
from scrapy.robotstxt import RobotParser

from scraper.urls import is_loopback, site_of

ROBOTS_PATH = "/robots.txt"
ROBOTS_PATIENCE_S = 10  # without an answer by then, the site is down

_FORBID_ALL = b"User-agent: *\nDisallow: /\n"


class OffSite(IgnoreRequest):
    """A request that would have left the site."""


class SameSite:
    """Refuses every request to another site, redirected ones included: also those to the machine's own network."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "SameSite":
        return cls(crawler)

    def process_request(self, request: Request) -> None:
        site = self._crawler.spider.site  # type: ignore[union-attr]
        if site_of(request.url) != site:
            raise OffSite(f"{request.url} is not on {site}")
        if is_loopback(request.url):
            request.meta.setdefault("proxy", None)  # no proxy can reach this machine's own servers


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


class CrawlDelay:
    """Slows the crawl down to the Crawl-delay of a site's robots.txt, where that is longer than the configured one."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        crawler.signals.connect(self.robots_parsed, signal=signals.robots_parsed)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "CrawlDelay":
        return cls(crawler)

    def robots_parsed(self, robotparser: RobotParser, **_: Any) -> None:
        asked = robotparser.crawl_delay(self._crawler.settings["ROBOTSTXT_USER_AGENT"])
        for slot in self._crawler.engine.downloader.slots.values() if asked else ():
            slot.delay = max(slot.delay, float(asked or 0))
