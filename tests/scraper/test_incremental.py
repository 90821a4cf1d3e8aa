"""A second crawl fetches what is new or has changed, and keeps what its site says has not."""

from collections.abc import Callable

from crawl_runs import CrawlRun, Web
from html_pages import document, prose

from textmill.articles.article import key_of
from textmill.articles.forgetting import forget
from textmill.articles.store import ArticleStore

Crawl = Callable[..., CrawlRun]


def article(first: int, tag: str, links: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    body = document(f"<article><h1>Day {first}</h1>{prose(3, first)}{links}</article>", title=f"Day {first}")
    return 200, {"Content-Type": "text/html", "ETag": f'"{tag}"', **headers}, body.encode()


def listing(*paths: str) -> tuple[int, dict[str, str], bytes]:
    links = "".join(f'<p><a href="{path}">{path}</a></p>' for path in paths)
    return 200, {"Content-Type": "text/html", "ETag": '"listing"'}, document(links).encode()


def test_unchanged_pages_cost_a_304_and_their_links_are_still_followed(
    make_web: Callable[[], Web], crawl: Crawl, store: ArticleStore
) -> None:
    web = make_web()
    web.pages |= {
        "/": listing("/a", "/b"),
        "/a": article(1, "a1"),
        "/b": article(10, "b1", '<p>The day after: <a href="/c">what came of it</a></p>'),
        "/c": article(20, "c1"),
    }
    source = {"name": "days", "start": f"{web.url}/"}
    assert crawl(source).counts["days"]["new"] == 3

    web.pages |= {"/": listing("/a", "/b", "/d"), "/a": article(2, "a2"), "/d": article(30, "d1")}
    second = crawl(source).counts["days"]
    assert (second["new"], second["changed"], second["unchanged"], second["not_modified"]) == (1, 1, 2, 2)
    assert {path: web.conditions[path] for path in ("/", "/a", "/b", "/c", "/d")} == {
        "/": "",  # listings are always fetched
        "/a": '"a1"',
        "/b": '"b1"',
        "/c": '"c1"',
        "/d": "",
    }
    assert len(list(store.versions.find({"url": f"{web.url}/a"}))) == 2

    forget(store, f"{web.url}/c")
    web.asked.clear()
    third = crawl(source, min_words=50).counts["days"]
    assert (third["unchanged"], third["not_modified"]) == (3, 0)  # another rule: nothing is taken for known
    assert third["refused"]["forgotten"] == 1
    assert "/c" not in web.asked


def test_what_a_site_permits_is_kept_with_each_article(
    make_web: Callable[[], Web], crawl: Crawl, store: ArticleStore
) -> None:
    web = make_web()
    web.pages |= {
        "/robots.txt": "License: https://rights.example/rsl.xml\nUser-agent: *\nAllow: /\n",
        "/.well-known/tdmrep.json": '[{"location": "/essays/*", "tdm-reservation": 1, "tdm-policy": "/policy"}]',
        "/": listing("/essays/1", "/essays/2", "/notes/1", "/teil"),
        "/essays/1": article(1, "x", **{"X-Robots-Tag": "otherbot: noindex, textmill: noai"}),
        "/essays/2": article(10, "x", **{"tdm-reservation": "0"}),
        "/notes/1": article(20, "x"),
        "/teil": document(
            '<div class="kopf"><b>Vom Mahlen</b> <i>Anna</i> <time datetime="2024-05-01">1. Mai</time></div>'
            f'<div class="stoff">{prose(3, 30)}</div><div><p>{"Abonnieren Sie uns, es lohnt sich. " * 9}</p></div>'
        ).replace(' lang="en-GB"', ""),
    }
    run = crawl(
        {
            "name": "days",
            "start": f"{web.url}/",
            "licence": "CC-BY-4.0",
            "language": "de",
            "exclude": ["/essays/", "/notes/"],
            **{f"{part}_selector": f".kopf {tag}" for part, tag in (("title", "b"), ("author", "i"), ("date", "time"))},
            "text_selector": ".stoff",
        },
        {"name": "plain", "start": f"{web.url}/", "exclude": ["/teil"]},
    )
    assert run.code == 0, run.output
    rows = {version["url"].removeprefix(web.url): version for version in store.versions.find()}
    rsl = "RSL https://rights.example/rsl.xml"
    assert {path: (row["robots"], row["reserved"], row["licence"]) for path, row in rows.items()} == {
        "/essays/1": ("allowed, noai", f"TDMRep /policy; {rsl}", None),
        "/essays/2": ("allowed", rsl, None),
        "/notes/1": ("allowed", rsl, None),
        "/teil": ("allowed", rsl, "CC-BY-4.0"),
    }
    chosen = rows["/teil"]
    assert (chosen["title"], chosen["author"], chosen["language"]) == (
        "Vom Mahlen",
        "Anna",
        "en",
    )  # the text is believed
    assert f"{chosen['published']:%Y-%m-%d}" == "2024-05-01"
    assert "Abonnieren" not in chosen["text"] and len(chosen["text"].split("\n\n")) == 3
    assert store.pages.find_one({"_id": key_of(f"{web.url}/")})["refused"] == "listing"  # type: ignore[index]


def test_a_site_that_collapses_is_quarantined_and_the_others_go_on(
    make_web: Callable[[], Web], crawl: Crawl, store: ArticleStore
) -> None:
    redesigned, steady = make_web(), make_web()
    for web in (redesigned, steady):
        web.pages["/"] = listing(*(f"/{number}" for number in range(8)))
        web.pages |= {f"/{number}": article(10 * number + 1, f"{number}") for number in range(8)}
    sources = [{"name": "redesigned", "start": f"{redesigned.url}/"}, {"name": "steady", "start": f"{steady.url}/"}]
    crawl(*sources)
    redesigned.pages |= {f"/{number}": document("<div id=app></div>") for number in range(8)}
    run = crawl(*sources)
    assert run.counts["redesigned"]["collapse"] == "0 articles instead of the usual 8"
    assert (run.counts["steady"]["collapse"], run.counts["steady"]["not_modified"]) == (None, 8)
    assert store.quarantined() == {"redesigned": "0 articles instead of the usual 8"}
    assert store.take_snapshot(["redesigned", "steady"]).sources == {"steady": 8}
