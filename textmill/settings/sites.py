"""The web sites to learn from, and how they are crawled."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from textmill.settings.group import Name, Settings


class Source(Settings):
    """One web site to learn from."""

    name: Name = Field(description="short name of the site, kept with each of its articles")
    start: str = Field(
        pattern=r"^https?://",
        description="URL to start from: a page whose links are followed, an RSS or Atom feed, or a sitemap",
    )
    include: list[str] = Field(
        [], description="regular expressions; where given, only URLs that match one are taken as articles"
    )
    exclude: list[str] = Field([], description="regular expressions; URLs that match one are never fetched")
    max_pages: int = Field(
        5000, ge=1, description="pages fetched in one crawl, at most; a wrong pattern should not fetch for days"
    )
    depth: int = Field(
        20, ge=1, description="links followed from the start, at most; listings with paging need one step a page"
    )
    hosts: list[str] = Field(
        [],
        description="further hosts, such as news.example or 10.0.0.5:8080, whose pages belong to this source; a feed may stand on another host than its articles",
    )
    title_selector: str = Field(
        "", description="CSS selector of the title; empty: found without one, as for most sites"
    )
    text_selector: str = Field(
        "", description="CSS selector of the elements that hold the article's text; empty: found without one"
    )
    author_selector: str = Field("", description="CSS selector of the author; empty: found without one")
    date_selector: str = Field(
        "", description="CSS selector of the date, in its text, 'datetime' or 'content'; empty: found without one"
    )
    language: str = Field(
        "", pattern=r"^([a-z]{2})?$", description="two-letter code for pages that do not say their language"
    )
    licence: str = Field("", description="licence of the site's texts, for pages that do not name theirs")

    @field_validator("start")
    @classmethod
    def _start_names_ahost_of(cls, start: str) -> str:
        if host_of(start) is None:
            raise ValueError(f"'{start}' is not the URL of a web site")
        return start


class Crawl(Settings):
    """How politely and how widely the spiders fetch."""

    delay_s: float = Field(
        0.25,
        ge=0,
        description="seconds between two requests to one site, at least; a site that answers slowly, or whose robots.txt asks for it, gets more; 0: a site of one's own, asked as fast as it answers",
    )
    concurrency: int = Field(4, ge=1, le=32, description="requests under way at once to one site")
    sites: int = Field(8, ge=1, le=256, description="sites crawled at once; sources on one site take turns")
    page_bytes: int = Field(5_000_000, ge=1000, description="bytes of a page, at most; a longer one is refused")
    min_words: int = Field(
        60, ge=1, description="words of an article, at least; shorter pages are listings and notices"
    )
    retries: int = Field(
        2, ge=0, description="times that a page is asked for again where a site or the way to it fails"
    )
    full_days: int = Field(
        30,
        ge=1,
        description="days after which an article is fetched in full again, though the site says that it has not changed",
    )
    processes: int | None = Field(
        None,
        ge=0,
        description="processes that take the articles from pages; 0: the crawl does it itself; empty: one less than there are cores, once there are more than 200 pages",
    )
    user_agent: str = Field(
        "Textmill/0.1",
        description="how the crawler names itself; put an address here where you can be reached",
    )


def host_of(url: str) -> str | None:
    """The host of a web address, or None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number, or too large a one
        return parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        return None
