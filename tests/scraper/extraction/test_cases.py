"""Pages, feeds and rules as sites of all kinds send them, each with the right result."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from protego import Protego
from scrapy.http import HtmlResponse

from scraper.extraction.article import Answer, Refused
from scraper.extraction.feeds import read_list
from scraper.extraction.readers import Task, read_page
from scraper.extraction.urls import resolve
from scraper.spiders.responses import text_of
from scraper.spiders.user_agent import robots_name
from textmill.articles.article import Article
from textmill.settings.sites import Source

CASES = Path(__file__).parent.parent.parent / "cases"
URL = "http://h.example/x/y.html"
SOURCE = Source(name="h", start="http://h.example/")


def read(body: bytes, header: str = "text/html") -> Article | Refused | None:
    response = HtmlResponse(URL, body=body, headers={"Content-Type": header})
    task = Task(text_of(response), URL, SOURCE, 60, Answer(datetime(2026, 11, 1, tzinfo=UTC)), (), wanted=True)
    return read_page(task).article


def article(name: str) -> Article:
    found = read((CASES / name).read_bytes())
    assert isinstance(found, Article), found
    return found


RIGHT: dict[str, Callable[[Article], bool]] = {
    "comment-in-paragraph.html": lambda a: a.text.endswith("\n\nThe price is 42 euro and the library opens at noon."),
    "header-unclosed-div.html": lambda a: 230 < len(a.text.split()) < 260 and "Home" not in a.text,
    "noscript-unclosed.html": lambda a: 230 < len(a.text.split()) < 260,
    "japanese.html": lambda a: len(a.text) > 1300 and a.language == "ja",
    "utf8-one-latin1-byte.html": lambda a: a.text.count("Für Gäste öffnet das Café") == 8 and a.title == "Schöne Grüße",
    "cp1251-declared-utf8.html": lambda a: "Вчера вечером в старом городе" in a.text and a.language == "ru",
    "soft-hyphens.html": lambda a: not set("\u00ad\u200b") & set(a.text) and "than river." in a.text,
    "lang-underscore.html": lambda a: a.language == "en",
    "xml-lang.html": lambda a: a.language == "en",
    "lang-en-text-german.html": lambda a: a.language == "de",
    "cookie-recipe.html": lambda a: "Bake the cookies for twelve minutes." in a.text,
    "forbidden-city.html": lambda a: a.title == "Forbidden City opens a new wing after ten years",
    "log-in-the-fireplace.html": lambda a: a.title.startswith("Log in the fireplace"),
    "linenumbers-table.html": lambda a: "The code:\n\ndef f():\n    return 1\n\nShould no are" in a.text,
    "data-table.html": lambda a: a.text.endswith("Results\n\nTown | People\nAberg | 1200\nBedorf | 900"),
    "li-div-code.html": lambda a: a.text.endswith("send it to a remote syslog server"),
    "pre-prose.html": lambda a: a.text.endswith(
        "This document describes a protocol for messages to a server and on to the client.\n\n1. Introduction\n\n"
        "Many applications need to notify a user."
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_page_gives_the_right_article(name: str) -> None:
    found = article(name)
    assert RIGHT[name](found), found


@pytest.mark.parametrize(
    ("name", "pages"),
    [
        ("feed-undeclared-prefix.xml", ["http://h.example/a"]),
        ("sitemap-unescaped-amp.xml", ["http://h.example/a?x=1&y=2"]),
        ("atom-xml-base.xml", ["http://h.example/blog/a.html"]),
        ("atom-json-alternate-first.xml", ["http://h.example/a"]),
        ("rss1-about-only.xml", ["http://h.example/a"]),
        ("feed.json", ["http://h.example/a"]),
    ],
)
def test_list_gives_the_right_pages(name: str, pages: list[str]) -> None:
    found = read_list((CASES / name).read_bytes())
    assert found is not None
    assert [resolve("http://elsewhere.example/feeds/all.xml", each) for each in found.pages] == pages


def test_rules_for_a_robot_hold_for_a_user_agent_of_the_form_of_browsers() -> None:
    rules = Protego.parse((CASES / "robots-mozilla-form.txt").read_text(encoding="utf-8"))
    agent = "Mozilla/5.0 (compatible; MillBot/1.0; +https://mill.example/bot)"
    assert robots_name(agent) == "MillBot"
    assert not rules.can_fetch("http://h.example/a", robots_name(agent))
    assert rules.can_fetch("http://h.example/a", robots_name("Textmill/0.1 (me@mill.example)"))
