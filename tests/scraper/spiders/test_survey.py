"""`textmill init` looks at the site: what it finds, and what it says where nothing can be read."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scraper.spiders.survey import survey
from textmill.cli import app
from textmill.settings.sites import Crawl


class _Site(BaseHTTPRequestHandler):
    """A start that redirects to another site, a forbidden page, and a page whose links are its articles."""

    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        status, body = (
            200,
            b"<title>A  pond</title><a href='/a-day-at-the-pond'>x</a><a href='/the-mill-at-night'>y</a>",
        )
        if self.path == "/robots.txt":
            body = b"User-agent: *\nDisallow: /secret\n"
        elif self.path == "/away":
            status = 302
        elif self.path != "/":
            status = 404
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://localhost:1/metadata")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pond() -> Iterator[str]:
    _Site.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_sites_title_feed_and_sitemap_are_found(site: str) -> None:
    found = survey(f"{site}/", Crawl())
    assert found.problem == ""
    assert "Millpond" in found.title
    assert found.feed.startswith(site)
    assert found.sitemap.startswith(site)
    assert found.articles > 10
    of_feed = survey(found.feed, Crawl())
    assert of_feed.articles > 0


def test_without_lists_the_links_are_counted(pond: str) -> None:
    found = survey(f"{pond}/", Crawl())
    assert (found.title, found.feed, found.sitemap, found.articles) == ("A pond", "", "", 2)


def test_robots_are_obeyed_and_another_site_is_not_visited(pond: str) -> None:
    assert survey(f"{pond}/secret/x", Crawl()).problem == "its robots.txt forbids it to Textmill"
    assert _Site.asked == ["/robots.txt"]
    found = survey(f"{pond}/away", Crawl())
    assert found.problem == "it redirects to another site, http://localhost:1/metadata"
    assert survey(f"{pond}/none", Crawl()).problem == "status 404"


def test_init_says_what_it_found_and_writes_the_file_where_nothing_answers(
    pond: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["init", f"{pond}/", "--config", "pond.yaml"]).output
    assert said.startswith('Found "A pond", about 2 pages that may be articles.\npond.yaml is written')
    said = CliRunner().invoke(app, ["init", "http://127.0.0.1:9/", "--config", "dead.yaml"]).output
    assert said.startswith("http://127.0.0.1:9/ cannot be read now (no connection); check it before 'textmill crawl'.")
    assert (tmp_path / "dead.yaml").exists()
