"""Look at a site before the first crawl: `python -m scraper.spiders.survey URL` prints what it found as JSON.

It fetches robots.txt, the start and at most two lists. As in a crawl, robots.txt is obeyed, and only the host that was
named is visited: its address may be private, and a redirect to another host is not followed.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus
from urllib.parse import urljoin

import requests
from lxml.etree import ParserError
from protego import Protego

from scraper.extraction.feeds import read_list
from scraper.extraction.listings import is_likely_place
from scraper.extraction.page import Page
from scraper.extraction.urls import normalise, resolve, same_page, site_of
from textmill.settings.sites import Crawl

_ANSWER_WITHIN_S = 10
_IN_ALL_S = 20
_REDIRECTS = 5
_FEEDS = ("application/rss+xml", "application/atom+xml")
_PIECE = 1 << 16  # bytes


@dataclass(slots=True)
class Survey:
    """What a site's start says of the site."""

    url: str  # where the start is, after redirects
    title: str = ""
    feed: str = ""
    sitemap: str = ""
    articles: int = 0  # guessed: addresses in the sitemap, else in the feed, else linked from the start
    problem: str = ""  # why nothing was found; a phrase


class _Unanswered(Exception):
    """The site cannot be read; the message says why, as a phrase."""


class Visitor:
    """Fetches a few pages of one site, as the crawler would."""

    def __init__(self, start: str, crawl: Crawl) -> None:
        self._site, self._crawl = site_of(start), crawl
        self._deadline = time.monotonic() + _IN_ALL_S
        self._session = requests.Session()
        self._session.headers["User-Agent"] = crawl.user_agent
        self.rules = Protego.parse(self._robots(urljoin(start, "/robots.txt")))

    def _robots(self, url: str) -> str:
        try:
            return self._body(url)[1].decode("utf-8", "replace")
        except _Unanswered as error:
            if str(error).startswith("status 4"):  # there is none
                return ""
            raise

    def read(self, url: str) -> tuple[str, bytes]:
        """The body at a URL, and the URL after redirects.

        Raises:
            _Unanswered: it does not answer, or robots.txt forbids it.
        """
        name = self._crawl.user_agent.split("/")[0].split("(")[0].strip()
        if not self.rules.can_fetch(url, name):
            raise _Unanswered("its robots.txt forbids it to Textmill")
        return self._body(url)

    def _body(self, url: str) -> tuple[str, bytes]:
        for _ in range(_REDIRECTS + 1):
            with self._ask(url) as answer:
                target = answer.headers.get("Location") if answer.is_redirect else None
                if target is None:
                    if answer.status_code != HTTPStatus.OK:
                        raise _Unanswered(f"status {answer.status_code}")
                    return url, self._content(answer)
                url = resolve(url, target) or ""
                if site_of(url) != self._site:
                    raise _Unanswered(f"it redirects to another site, {url or target}")
        raise _Unanswered("it redirects again and again")

    def _ask(self, url: str) -> requests.Response:
        try:
            return self._session.get(url, timeout=_ANSWER_WITHIN_S, stream=True, allow_redirects=False)
        except requests.Timeout:
            raise _Unanswered(f"no answer within {_ANSWER_WITHIN_S} s") from None
        except requests.exceptions.SSLError:
            raise _Unanswered("its certificate is not valid") from None
        except (requests.RequestException, ValueError):
            raise _Unanswered("no connection") from None

    def _content(self, answer: requests.Response) -> bytes:
        body = b""
        try:
            for piece in answer.iter_content(_PIECE):
                body += piece
                if len(body) > self._crawl.page_bytes or time.monotonic() > self._deadline:
                    break  # a beginning is enough for a guess
        except requests.RequestException:
            raise _Unanswered("the connection was lost") from None
        return body


def survey(start: str, crawl: Crawl) -> Survey:
    """Look at a site from its start, a page, a feed or a sitemap."""
    found = Survey(normalise(start))
    try:
        visitor = Visitor(found.url, crawl)
        found.url, body = visitor.read(found.url)
    except _Unanswered as error:
        found.problem = str(error)
        return found
    if (listed := read_list(body)) is not None:
        found.articles = len(listed.pages) or len(listed.lists)
        return found
    try:
        page = Page(body.decode("utf-8", "replace"), found.url)
    except (ParserError, ValueError):
        found.problem = "it is not a page, a feed or a sitemap"
        return found
    _read_page(found, page, visitor)
    return found


def _read_page(found: Survey, page: Page, visitor: Visitor) -> None:
    found.title = " ".join((page.tree.findtext(".//title") or "").split())
    feed, sitemap = _feed(page), next(iter(visitor.rules.sitemaps), urljoin(found.url, "/sitemap.xml"))
    in_feed, in_sitemap = (_entries(visitor, url, found.url) for url in (feed, sitemap))
    found.feed, found.sitemap = feed if in_feed else "", sitemap if in_sitemap else ""
    linked = {url for url in page.links() if not is_likely_place(url) and not same_page(url, found.url)}
    found.articles = in_sitemap or in_feed or len(linked)


def _feed(page: Page) -> str:
    """The feed that a page names; empty if it names none."""
    for link in page.tree.iter("link"):
        if link.get("type", "").lower() in _FEEDS and (url := resolve(page.url, link.get("href", ""))):
            return url
    return ""


def _entries(visitor: Visitor, url: str, start: str) -> int:
    """The number of addresses in a feed or a sitemap of this site; 0 if there is none."""
    if not url or site_of(url) != site_of(start):
        return 0
    try:
        listed = read_list(visitor.read(url)[1])
    except _Unanswered:
        return 0
    return len(listed.pages) or len(listed.lists) if listed else 0


if __name__ == "__main__":
    print(json.dumps(asdict(survey(sys.argv[1], Crawl()))))
