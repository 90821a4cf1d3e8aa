"""Pages, lists and rules that are made to cost time: what is quadratic would take hours here."""

import pytest

from scraper.extraction import characters, feeds, notices
from scraper.extraction.rights import SiteTerms

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    "body",
    [b"<\xff" * 500_000, b"<script \xff" * 200_000, b"\xff<style" + b" " * 1_000_000, b"<\xff" + b"a" * 1_000_000],
)
def test_unclosed_tags_do_not_hold_a_page_up(body: bytes) -> None:
    assert characters.decoded(body, None)


@pytest.mark.parametrize("piece", [b"<!--", b"<![CDATA[", b"&", b"<!-- -- >"])
def test_unclosed_sections_do_not_hold_a_feed_up(piece: bytes) -> None:
    found = feeds.read_list(b"<rss><channel><item><link>http://a.example/1</link></item>" + piece * 100_000)
    assert found is not None
    assert found.pages == ["http://a.example/1"]


def test_empty_lines_do_not_hold_rules_up() -> None:
    terms = SiteTerms()
    terms.read_robots("\n" * 500_000 + "User-agent: *\nDisallow: /\n")
    assert terms.on("http://a.example/1").licence is None


def test_a_long_title_is_judged_by_its_beginning() -> None:
    assert notices.notice_in("!" * 200_000 + "x", "A wheel turns. " * 10, 50) is None
    assert notices.notice_in("Page not found - The Mill", "A wheel turns. " * 10, 50) == "error page"


@pytest.mark.parametrize("declared", ["base64", "rot13", "hex", "idna", "undefined", "no-such-charset"])
def test_a_declared_charset_that_is_no_charset_is_passed_over(declared: str) -> None:
    assert "M\u00fchle" in characters.decoded(
        "Die M\u00fchle am Bach, sch\u00f6n und gro\u00df. ".encode("cp1252") * 20, declared
    )
