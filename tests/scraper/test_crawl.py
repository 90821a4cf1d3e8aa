"""Crawls of the example site into the real store."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from textmill.articles.store import ArticleStore

Crawl = Callable[..., Any]
OwnSite = Callable[[int], tuple[str, Path]]


def urls(store: ArticleStore) -> set[str]:
    return set(store.articles.distinct("url"))


def test_second_crawl_finds_everything_unchanged_and_writes_nothing(
    site: str, crawl: Crawl, store: ArticleStore, millpond: ModuleType
) -> None:
    posts = {f"{site}{post.path}": post for post in millpond.read_posts()}
    source = {"name": "millpond", "start": f"{site}/"}

    first = crawl(source)
    assert (first.code, first.output) == (0, "")
    counts = first.counts["millpond"]
    assert (counts["articles"], counts["new"]) == (len(posts), len(posts))
    assert counts["refused"] == {"listing": 18, "robots.txt": 3, "too short": 2, "duplicate": 1}
    assert first.results == [
        f"{len(posts)} articles: {len(posts)} new, 0 changed, 0 unchanged; "
        "24 pages refused (18 listing, 3 robots.txt, 2 too short, 1 duplicate)"
    ]
    progress = [(event["done"], event["total"]) for event in first.events if event["event"] == "progress"]
    assert [done for done, _ in progress] == list(range(1, counts["pages"] + 1))
    assert progress[-1] == (counts["pages"], counts["pages"])
    assert urls(store) == set(posts)
    for version in store.versions.find():
        assert (version["title"], version["author"]) == (posts[version["url"]].title, posts[version["url"]].author)
        assert "cookie" not in version["text"] and "Recent articles" not in version["text"]

    before = list(store.versions.find().sort("key"))
    second = crawl(source)
    again = second.counts["millpond"]
    assert {**again, "not_modified": 0, "words": 0} == {**counts, "new": 0, "unchanged": len(posts), "words": 0}
    assert again["not_modified"] > 0
    assert list(store.versions.find().sort("key")) == before


def test_edited_article_gets_a_second_version_and_the_former_one_stays(
    own_site: OwnSite, crawl: Crawl, store: ArticleStore, millpond: ModuleType
) -> None:
    base_url, folder = own_site(12)
    source = {"name": "millpond", "start": f"{base_url}/"}
    crawl(source)
    post = millpond.multiply(millpond.read_posts(), 12)[3]
    file = folder / post.path[1:]
    new_sentence = "The new miller sees it otherwise."
    file.write_text(file.read_text(encoding="utf-8").replace("</article>", f"<p>{new_sentence}</p></article>"), "utf-8")
    edited = file.stat().st_mtime + 2  # Last-Modified counts whole seconds, and a crawl may take less
    os.utime(file, (edited, edited))

    counts = crawl(source).counts["millpond"]

    assert (counts["new"], counts["changed"], counts["unchanged"]) == (0, 1, 11)
    versions = list(store.versions.find({"url": f"{base_url}{post.path}"}).sort("valid_from"))
    assert [new_sentence in version["text"] for version in versions] == [False, True]
    assert versions[0]["valid_to"] == versions[1]["valid_from"]
    assert versions[1]["valid_to"] is None


def test_feed_sitemap_and_index_of_gzipped_sitemaps_give_the_articles_of_the_site(
    own_site: OwnSite, crawl: Crawl, store: ArticleStore, millpond: ModuleType
) -> None:
    base_url, folder = own_site(12)
    expected = {f"{base_url}{post.path}" for post in millpond.multiply(millpond.read_posts(), 12)}
    (folder / "part.xml.gz").write_bytes(gzip.compress((folder / "sitemap.xml").read_bytes()))
    (folder / "index.xml").write_text(
        '<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
        f"<sitemap><loc>{base_url}/part.xml.gz</loc></sitemap></sitemapindex>",
        "utf-8",
    )
    run = crawl(
        *({"name": name, "start": f"{base_url}/{name}.xml"} for name in ("feed", "sitemap", "index")),
    )
    assert [counts["articles"] for counts in run.counts.values()] == [12, 12, 12]
    assert urls(store) == expected
    assert run.counts["feed"]["pages"] == 13  # the feed and its entries: links on them are not followed


def test_limits_and_patterns_decide_what_is_taken(
    site: str, crawl: Crawl, store: ArticleStore, millpond: ModuleType
) -> None:
    run = crawl(
        {"name": "few", "start": f"{site}/", "max_pages": 8},
        {"name": "near", "start": f"{site}/sections/flour/page/2.html", "depth": 1, "exclude": [r"\.xml$"]},
        {"name": "some", "start": f"{site}/", "include": ["/articles/a-"], "exclude": ["/sections/"]},
        sites=1,
    )
    assert run.counts["few"]["pages"] <= 8
    assert run.counts["few"]["cut_short"] == "stopped at 8 pages (max_pages)"
    assert run.counts["near"]["cut_short"] == "links more than 1 steps away not followed (depth)"
    assert run.counts["some"]["refused"]["excluded"] == 11
    wanted = {f"{site}{post.path}" for post in millpond.read_posts() if post.slug.startswith("a-")}
    assert wanted <= urls(store)
    assert run.counts["some"]["articles"] == len(wanted)
