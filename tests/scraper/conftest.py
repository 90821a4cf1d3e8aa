"""Fixtures of the crawler's tests."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from crawl_runs import CrawlRun, Web, WebServer, crawl_config, run_crawl


@pytest.fixture
def crawl(tmp_path: Path, mongodb_uri: str, database: str) -> Callable[..., CrawlRun]:
    """A function that crawls sources into the database of this test: crawl({'name': …, 'start': …}, …, min_words=…)."""
    return lambda *sources, **settings: run_crawl(tmp_path, mongodb_uri, crawl_config(database, *sources, **settings))


@pytest.fixture(scope="module")
def make_web() -> Iterator[Callable[[], Web]]:
    """A function that starts an empty site on a free port; all of them end with the module's tests."""
    servers: list[WebServer] = []

    def make() -> Web:
        servers.append(WebServer())
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1].web

    yield make
    for server in servers:
        server.web.ended.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def own_site(millpond: ModuleType, tmp_path: Path) -> Iterator[Callable[[int], tuple[str, Path]]]:
    """A function that starts an example site of this test alone, to change at will: own_site(articles) -> URL, folder."""
    servers = []

    def make(articles: int) -> tuple[str, Path]:
        folder = tmp_path / f"site-{len(servers)}"
        folder.mkdir()
        servers.append(millpond.server(folder))
        servers[-1].handle_error = lambda *_: None  # crawlers that are killed hang up
        base_url = f"http://127.0.0.1:{servers[-1].server_port}"
        millpond.render(folder, base_url, articles)
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return base_url, folder

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()
