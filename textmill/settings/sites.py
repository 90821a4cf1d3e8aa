"""Settings of the web sites, and of how they are crawled."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from textmill.settings.group import Name, Settings


class Source(Settings):
    """One web site to train on."""

    name: Name = Field(description="short name of the site, stored with each of its articles")
    start: str = Field(
        pattern=r"^https?://",
        description="URL to start from: a page whose links are followed, an RSS or Atom feed, or a sitemap",
    )
    include: list[str] = Field(
        [], description="regular expressions; if set, only URLs that match one count as articles"
    )
    exclude: list[str] = Field([], description="regular expressions; URLs that match one are never fetched")
    max_pages: int = Field(
        5000, ge=1, description="maximum pages per crawl; stops a wrong pattern from fetching for days"
    )
    depth: int = Field(
        20, ge=1, description="maximum link depth from the start; a paged listing needs one step per page"
    )
    hosts: list[str] = Field(
        [],
        description="other hosts whose pages belong to this source, such as news.example or 10.0.0.5:8080; needed if a feed links to another host",
    )
    title_selector: str = Field(
        "", description="CSS selector of the title; empty: automatic, which works for most sites"
    )
    text_selector: str = Field("", description="CSS selector of the elements with the article's text; empty: automatic")
    author_selector: str = Field("", description="CSS selector of the author; empty: automatic")
    date_selector: str = Field(
        "", description="CSS selector of the date, read from text, 'datetime' or 'content'; empty: automatic"
    )
    language: str = Field("", pattern=r"^([a-z]{2})?$", description="two-letter code for pages that state no language")
    licence: str = Field("", description="licence for pages that state none")

    @field_validator("start")
    @classmethod
    def _start_names_ahost_of(cls, start: str) -> str:
        if host_of(start) is None:
            raise ValueError(f"'{start}' is not the URL of a web site; give one like https://blog.example/")
        return start


class Crawl(Settings):
    """How politely and how widely the spiders fetch."""

    delay_s: float = Field(
        0.25,
        ge=0,
        description="minimum seconds between two requests to one site; longer if the site is slow or its robots.txt asks; 0: no delay, for your own site",
    )
    concurrency: int = Field(4, ge=1, le=32, description="concurrent requests to one site")
    sites: int = Field(8, ge=1, le=256, description="sites crawled at once; sources on the same site take turns")
    page_bytes: int = Field(5_000_000, ge=1000, description="maximum bytes per page; longer pages are refused")
    min_words: int = Field(
        60, ge=1, description="minimum words per article; shorter pages are mostly listings and notices"
    )
    retries: int = Field(2, ge=0, description="retries after a site or the network fails")
    full_days: int = Field(
        30,
        ge=1,
        description="days after which an article is fetched in full again, even if the site reports no change",
    )
    processes: int | None = Field(
        None,
        ge=0,
        description="processes that extract articles from pages; 0: none, the crawler does it; empty: one less than the CPU cores, once there are more than 200 pages",
    )
    user_agent: str = Field(
        "Textmill/0.1",
        description="name the crawler sends; include an address where you can be reached",
    )


def host_of(url: str) -> str | None:
    """The host of a web address; None if the text is not a web address."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number, or too large a one
        return parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        return None
