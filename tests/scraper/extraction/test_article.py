from datetime import UTC, datetime, time
from pathlib import Path
from types import ModuleType

import pytest
from html_pages import document, paragraphs, prose

from scraper.extraction.article import Answer, Refused, article_of
from scraper.extraction.page import Page
from textmill.articles.article import Article
from textmill.settings.sites import Source

URL = "http://example.org/days/first.html"
SOURCE = Source(name="test", start=URL)
FETCHED = datetime(2026, 11, 1, tzinfo=UTC)


def read(html: str, url: str = URL, min_words: int = 60) -> Article | Refused:
    return article_of(Page(html, url), SOURCE, min_words, Answer(FETCHED))


def text_of(html: str, url: str = URL) -> str:
    article = read(html, url)
    assert isinstance(article, Article), article
    return article.text


@pytest.fixture(scope="module")
def rendered(millpond: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    millpond.render(folder, "http://127.0.0.1:8080")
    return folder


def test_article_of_the_example_site_is_exactly_what_was_written(millpond: ModuleType, rendered: Path) -> None:
    for post in millpond.read_posts():
        url = f"http://127.0.0.1:8080{post.path}"
        article = read((rendered / post.path[1:]).read_text(encoding="utf-8"), url)
        assert isinstance(article, Article), post.slug
        assert article.text == "\n\n".join(block.removeprefix("## ") for block in post.blocks)
        assert (article.url, article.title, article.author) == (url, post.title, post.author)
        assert article.published == datetime.combine(post.published, time(), UTC)
        assert article.language == "en"


@pytest.mark.parametrize(
    "path", ["index.html", "page/2.html", "sections/flour/index.html", "sections/flour/page/2.html"]
)
def test_listings_of_the_example_site_are_refused(rendered: Path, path: str) -> None:
    url = f"http://127.0.0.1:8080/{path.removesuffix('index.html')}"
    assert read((rendered / path).read_text(encoding="utf-8"), url) == Refused("listing")


def test_cookie_notice_and_navigation_are_not_in_the_text() -> None:
    notice = """<div id="cookie-consent-banner"><p>We and our 120 partners keep cookies on your device in order to count
    your visits, to show you what you might buy, and to remember what you have chosen.</p><button>Agree</button></div>"""
    menu = '<div role="navigation"><p>Home, prices, and a way to us that is longer than one would think it needs.</p></div>'
    text = text_of(document(f"{notice}{menu}<h1>A day at the mill</h1><div>{prose()}</div>"))
    assert text.split("\n\n") == paragraphs(3)


def test_text_about_cookies_stays() -> None:
    body = f'<div class="cookie-recipes"><h1>Oat cookies</h1>{prose()}</div>'
    assert text_of(document(body, title="Oat cookies")).split("\n\n") == paragraphs(3)


def test_headings_stay_where_they_hold_anchors_and_the_page_has_no_article_element() -> None:
    body = """<div class="navheader"><table><tr><th>Chapter 3</th><td><a href="next.html">Next</a></td></tr></table></div>
    <div class="chapter"><h1><a id="c3"></a>A day at the mill</h1>
    <div class="toc"><p><b>Contents</b></p><dl><dt><a href="first.html#a">Which mill is the better one?</a></dt>
    <dt><a href="first.html#b">What does it cost?</a></dt><dt><a href="first.html#c">Who may come?</a></dt></dl></div>
    <h2><a id="a"></a>Which mill is the better one?</h2>%s
    <h2>What does it cost?<a class="headerlink" href="#b">¶</a></h2>%s</div>"""
    text = text_of(document(body % (prose(1), prose(1, 2))))
    first, second = paragraphs(1)[0], paragraphs(1, 2)[0]
    assert text.split("\n\n") == ["Which mill is the better one?", first, "What does it cost?", second]


def test_list_items_and_quotations_become_paragraphs_without_marks() -> None:
    body = f"<article><h1>A day at the mill</h1>{prose(2)}<ul><li>Bring strong shoes and a coat.</li>"
    body += "<li><p>Leave the dog at home.</p></li></ul><blockquote><p>Grind slowly.</p></blockquote></article>"
    text = text_of(document(body))
    assert text.endswith("Bring strong shoes and a coat.\n\nLeave the dog at home.\n\nGrind slowly.")


def test_related_articles_below_an_article_are_cut_off() -> None:
    cards = "".join(
        f'<div class="card"><h3><a href="/days/{n}.html">Day {n}</a></h3><p>On day {n} we ground oats until dusk came.</p></div>'
        for n in range(2, 6)
    )
    text = text_of(document(f'<main><h1>A day at the mill</h1>{prose()}<div class="more">{cards}</div></main>'))
    assert text.split("\n\n") == paragraphs(3)


def listing_of_cards(words: str) -> str:
    return "".join(f'<article><h2><a href="/d/{n}">Day {n}</a></h2>{words.format(n)}</article>' for n in range(9))


def flat_listing() -> str:
    return "".join(f'<h2><a href="/d/{n}">Day {n}</a></h2>{prose(1, n)}' for n in range(9))


def listing_of_items() -> str:
    items = "".join(f'<li><a href="/d/{n}">Day {n}</a> – {paragraphs(1, n)[0]}</li>' for n in range(9))
    return f"<main><h1>All days</h1><ul>{items}</ul></main>"


def listing_of_titles() -> str:
    titles = "".join(
        f'<tr><td><a href="/d/{n}">How we spent day {n} at the mill by the weir</a></td></tr>' for n in range(60)
    )
    return f"<div><p>{paragraphs(1)[0]}</p><table>{titles}</table></div>"


@pytest.mark.parametrize(
    "body",
    [
        listing_of_cards("<p>A few words.</p>"),
        listing_of_cards(prose(2)),
        flat_listing(),
        listing_of_items(),
        listing_of_titles(),
    ],
)
def test_pages_that_list_others_are_refused(body: str) -> None:
    assert read(document(body)) == Refused("listing")


def test_page_that_declares_itself_a_collection_is_refused() -> None:
    graph = '<script type="application/ld+json">{"@graph": [{"@type": ["WebPage", "CollectionPage"]}]}</script>'
    assert read(document(f"<article>{prose()}</article>", head=graph)) == Refused("listing")


def test_welcome_of_a_home_page_is_refused_and_the_same_text_elsewhere_is_not() -> None:
    page = document(f"<article><h1>Welcome</h1>{prose(2)}</article>")
    assert read(page, "http://example.org/") == Refused("listing")
    assert isinstance(read(page), Article)


def test_short_page_is_refused() -> None:
    assert read(document(f"<article>{prose(1)}</article>"), min_words=100) == Refused("too short")
    assert read("<html></html>") == Refused("too short")


def test_comments_with_links_to_their_writers_do_not_make_a_listing() -> None:
    comments = "".join(f'<li><a href="/u/{n}">Guest {n}</a> {paragraphs(1, n)[0]}</li>' for n in range(20, 60))
    text = text_of(document(f'<article><h1>A day</h1>{prose(4)}</article><ol id="comments">{comments}</ol>'))
    assert text.split("\n\n") == paragraphs(4)


def test_what_the_page_says_of_its_use_is_kept() -> None:
    head = '<meta name="robots" content="noindex, noai, max-snippet:10"><meta name="date" content="2021-03-04">'
    article = read(document(f"<article>{prose()}</article>", head=head))
    assert isinstance(article, Article)
    assert article.robots == "allowed, noindex, noai"
    assert article.published == datetime(2021, 3, 4, tzinfo=UTC)


def test_date_that_only_the_prose_mentions_is_not_taken() -> None:
    article = read(
        document(f"<article>{prose()}<p>This was written after 1999-05-13, when the weir broke.</p></article>")
    )
    assert isinstance(article, Article)
    assert article.published is None
