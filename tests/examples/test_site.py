"""The example site: what it has, and that rendering it again leaves it alone."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import urljoin, urlsplit

import pytest
from lxml import etree

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def folder(millpond: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    millpond.render(folder, "http://127.0.0.1:8080")
    return folder


class _Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.page, self.found = page, set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href")
        if address and tag in ("a", "link"):
            self.found.add(urlsplit(urljoin(self.page, address)).path)


def test_site_is_large_enough_to_learn_from(millpond: ModuleType) -> None:
    posts = millpond.read_posts()
    words = sum(len(block.split()) for post in posts for block in post.blocks)
    assert len(posts) >= 40
    assert words >= 12_000
    assert len({post.slug for post in posts}) == len({post.title for post in posts}) == len(posts)


def test_every_link_leads_to_a_file(folder: Path) -> None:
    for page in folder.rglob("*.html"):
        parser = _Links("/" + page.relative_to(folder).as_posix())
        parser.feed(page.read_text(encoding="utf-8"))
        for path in parser.found:
            target = folder / path.lstrip("/")
            assert (target / "index.html" if path.endswith("/") else target).is_file(), (page, path)


def test_site_has_what_a_crawler_meets(folder: Path, millpond: ModuleType) -> None:
    posts = millpond.read_posts()
    home = (folder / "index.html").read_text(encoding="utf-8")
    alias = (folder / "selected" / f"{millpond.PICKED}.html").read_text(encoding="utf-8")
    assert home.count('class="teaser"') == 10
    assert "Older articles" in home
    assert 'class="cookie-notice"' in home
    assert len(re.findall(r'href="/private/', home)) == 3
    assert f'<link rel="canonical" href="http://127.0.0.1:8080/articles/{millpond.PICKED}.html">' in alias
    assert "Disallow: /private/" in (folder / "robots.txt").read_text(encoding="utf-8")
    assert len(etree.parse(folder / "feed.xml").findall(".//item/link")) == len(posts)
    locations = etree.parse(folder / "sitemap.xml").findall(".//{*}loc")
    assert {post.path for post in posts} < {urlsplit(location.text or "").path for location in locations}
    assert any(not page.read_text(encoding="utf-8").isascii() for page in (folder / "articles").glob("*.html"))


def test_rendering_again_touches_only_what_changed(millpond: ModuleType, tmp_path: Path) -> None:
    millpond.render(tmp_path, "http://127.0.0.1:8080")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    for file in files:
        os.utime(file, (1, 1))
    (tmp_path / "about.html").write_text("edited", encoding="utf-8")
    millpond.render(tmp_path, "http://127.0.0.1:8080")
    assert [file.name for file in files if file.stat().st_mtime != 1] == ["about.html"]
    assert "edited" not in (tmp_path / "about.html").read_text(encoding="utf-8")


def test_site_can_be_made_as_large_as_a_benchmark_needs(millpond: ModuleType, tmp_path: Path) -> None:
    assert millpond.render(tmp_path, "http://127.0.0.1:8080", pages=200) == 200
    texts = {page.read_text(encoding="utf-8") for page in (tmp_path / "articles").glob("*.html")}
    assert len(texts) == 200


def test_command_serves_the_site_until_it_is_told_to_stop() -> None:
    process = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "site.py", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = line.rpartition(" ")[2].strip()
        with urllib.request.urlopen(address, timeout=60) as answer:
            modified = answer.headers["Last-Modified"]
            assert "The Millpond" in answer.read().decode()
        request = urllib.request.Request(address, headers={"If-Modified-Since": modified})
        with pytest.raises(urllib.error.HTTPError, match="304"):
            urllib.request.urlopen(request, timeout=60)
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_port_in_use_is_named(site: str) -> None:
    port = site.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "site.py", "--port", port],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"Port {port} of 127.0.0.1 cannot be used (Address already in use)")
