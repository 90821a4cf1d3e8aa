import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.extraction.urls import canonical_url, is_loopback, normalise, resolve, same_page, site_of


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("http://example.org:80/a", "http://example.org/a"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("http://example.org:443/a", "http://example.org:443/a"),
        ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"),
        ("http://[::1]:8080/a", "http://[::1]:8080/a"),
        ("http://example.org/a#part", "http://example.org/a"),
        ("http://example.org/a?id=3&utm_source=x&UTM_medium=y&gclid=1&fbclid=2", "http://example.org/a?id=3"),
        ("http://example.org/a?utm_source=x", "http://example.org/a"),
        ("http://example.org/a?b=%20c&d", "http://example.org/a?b=%20c&d"),
        ("http://user:secret@example.org/a", "http://example.org/a"),
        ("http://example.org/Mühle", "http://example.org/M%C3%BChle"),
    ],
)
def test_normalised_url(url: str, expected: str) -> None:
    assert normalise(url) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize("href", ["mailto:a@b.c", "javascript:void(0)", "tel:1", "http://[half", "http://a:99999/"])
def test_links_that_lead_nowhere_resolve_to_nothing(href: str) -> None:
    assert resolve("http://example.org/", href) is None


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("/real", "http://example.org/real"),
        ("http://EXAMPLE.org/real?utm_campaign=x#top", "http://example.org/real"),
        ("https://www.example.org/real", "https://www.example.org/real"),
        ("http://other.org/real", "http://example.org/copy"),
        ("http://example.org:8080/real", "http://example.org/copy"),
        ("http://example.org/", "http://example.org/copy"),  # a template that gives every page the home page
        ("", "http://example.org/copy"),
        ("http://[half", "http://example.org/copy"),
        (None, "http://example.org/copy"),
    ],
)
def test_canonical_url_is_believed_only_on_the_same_site(declared: str | None, expected: str) -> None:
    assert canonical_url("http://example.org/copy", declared) == expected


def test_site_is_host_and_port_with_or_without_www() -> None:
    assert site_of("https://www.example.org/a") == site_of("http://example.org:80/b") == "example.org"
    assert site_of("http://127.0.0.1:8080/") != site_of("http://127.0.0.1:8081/")


def test_same_page_is_told_apart_only_by_what_matters() -> None:
    assert same_page("http://example.org/a/", "https://www.example.org/a")
    assert not same_page("http://example.org/a", "http://example.org/b")
    assert not same_page("http://example.org/?id=1", "http://example.org/?id=2")


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.1:1/", True), ("http://localhost/", True), ("http://[::1]/", True), ("http://10.0.0.1/", False)],
)
def test_loopback(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


_PARTS = st.text(st.sampled_from("abzÄß%/.~-_=&?+ :"), max_size=12)
_HOSTS = st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,8}\.(org|Example|co\.uk)", fullmatch=True)
_TRACKED = st.sampled_from(["utm_source=a", "gclid=1", "fbclid=x", "UTM_Term=b"])


@st.composite
def web_addresses(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(["http", "https", "HTTP"]))
    port = draw(st.sampled_from(["", ":80", ":443", ":8080"]))
    query = draw(st.sampled_from(["", "?a=1", "?a=1&b=%20c", "?d"]))
    # spaces around an address do not belong to it
    return f"{scheme}://{draw(_HOSTS)}{port}/{draw(_PARTS).replace('?', '')}{query}".strip()


@given(web_addresses())
def test_a_normalised_url_is_its_own_normal_form_and_stays_on_its_site(url: str) -> None:
    once = normalise(url)
    assert normalise(once) == once
    assert resolve("http://elsewhere.example/", url) == once
    assert "#" not in once and "@" not in once


@given(web_addresses(), st.lists(_TRACKED, min_size=1, max_size=3), st.text(st.sampled_from("abc/?"), max_size=5))
def test_tracking_parameters_and_fragments_make_no_other_page(url: str, tracked: list[str], fragment: str) -> None:
    joint = "&" if "?" in url else "?"
    assert normalise(f"{url}{joint}{'&'.join(tracked)}#{fragment}") == normalise(url)


@given(web_addresses(), st.one_of(st.none(), web_addresses(), st.text(max_size=20)))
def test_a_declared_address_never_leaves_the_site(url: str, declared: str | None) -> None:
    page = normalise(url)
    assert site_of(canonical_url(page, declared)) == site_of(page)


@given(st.text(max_size=40))
def test_no_link_breaks_the_crawl(href: str) -> None:
    target = resolve("http://example.org/a/b", href)
    assert target is None or normalise(target) == target
