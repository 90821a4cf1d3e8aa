import pytest
from html_pages import document, prose

from scraper.extraction.page import Page
from scraper.extraction.rights import PageTerms, SiteTerms, reservation, robots_tags, stated_licence

URL = "http://example.org/days/first.html"


def reserved(head: str = "", terms: PageTerms | None = None, **headers: str) -> str | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reservation(Page(document(prose(), head=head), URL), named, terms or PageTerms())


def robots(body: str, url: str = URL) -> str | None:
    terms = SiteTerms()
    terms.read_robots(body)
    return reserved(terms=terms.on(url))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("User-agent: GPTBot\nDisallow: /\n", "robots.txt forbids GPTBot"),
        ("User-agent: ccbot\nUser-agent: ClaudeBot\nDisallow: /days/\n", "robots.txt forbids CCBot, ClaudeBot"),
        ("User-agent: Google-Extended\nDisallow: /archive/\n", None),
        ("User-agent: GPTBot\nAllow: /\nUser-agent: *\nDisallow: /private\n", None),
        ("User-agent: *\nDisallow: /\n", None),  # forbids the crawl, which is seen elsewhere
        ("User-agent: OtherBot\nDisallow: /\n", None),
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no\n", "Content-Signal ai-train=no"),
        ("User-agent: *\nContent-Signal: ai-train=yes\n", None),
        ("User-agent: *\nContent-Usage: train-ai=n\n", "Content-Usage train-ai=n"),
        ("User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /days/ train-ai=y\n", None),
        ("User-agent: *\nContent-Usage: /days/ train-ai=n # no\n", "Content-Usage train-ai=n"),
        ("User-agent: *\nContent-Usage: /archive/ train-ai=n\n", None),
        ("License: https://r.example/rsl.xml\n", "RSL https://r.example/rsl.xml"),
    ],
)
def test_what_robots_txt_says_of_training(body: str, expected: str | None) -> None:
    assert robots(body) == expected


def test_headers_and_json_ld_reserve_too() -> None:
    assert reserved(content_usage="train-ai=n, search=y") == "Content-Usage train-ai=n"
    assert reserved(content_signal="ai-train=no") == "Content-Signal ai-train=no"
    assert reserved(tdm_reservation="1", tdm_policy="/policy") == "TDMRep /policy"
    assert reserved(tdm_reservation="0") is None
    for value in ("false", '"False"'):
        head = '<script type="application/ld+json">{"@type": "Article", "isAccessibleForFree": %s}</script>'
        assert reserved(head % value) == "JSON-LD isAccessibleForFree=false"
    assert reserved('<script type="application/ld+json">{"isAccessibleForFree": true}</script>') is None
    assert reserved('<script type="application/ld+json">{"@graph": 3}</script>') is None


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ('<script type="application/ld+json">{"license": "https://l.example/by"}</script>', "https://l.example/by"),
        ('<script type="application/ld+json">[{"license": {"@id": "https://l.example/by"}}]</script>', "https://l.example/by"),
        ('<script type="application/ld+json">{"@graph": [{"license": ["CC0"]}]}</script>', "CC0"),
        ('<link rel="license" href="https://l.example/by">', "https://l.example/by"),
        ('<meta name="dcterms.license" content="CC-BY-4.0">', "CC-BY-4.0"),
        ('<link rel="license" type="application/rsl+xml" href="/rsl.xml">', None),
    ],
)  # fmt: skip
def test_the_licence_that_a_page_names(head: str, licence: str | None) -> None:
    assert stated_licence(Page(document(prose(), head=head), URL)) == licence


def test_directives_address_this_robot_by_its_own_and_its_configured_name() -> None:
    header = "otherbot: noindex, millbot: noai, noarchive"
    assert robots_tags(header) == set()
    assert robots_tags(header, ("textmill", "millbot")) == {"noai", "noarchive"}
    page = Page(document(prose(), head='<meta name="MillBot" content="noai">'), URL)
    assert page.directives() == set()
    assert page.directives(("textmill", "millbot")) == {"noai"}
