"""Crawling in rounds: it waits for its store, goes on after a failure, and ends at once when told to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from crawl_runs import ROOT, crawl_command, crawl_config
from local_servers import free_port, start_store, stop

from textmill.articles.store import ArticleStore

OwnSite = Callable[[int], tuple[str, Path]]


def _rounds(folder: Path, config: dict[str, object], uri: str) -> "subprocess.Popen[bytes]":
    file = crawl_command(folder, config)[-1]
    command = [sys.executable, "-m", "scraper.repeat", "--every", "3600", "--config", file, "--log-file", "-"]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"TEXTMILL_MONGODB_URI": uri}, stderr=log)


def _until_logged(folder: Path, words: str) -> None:
    deadline = time.monotonic() + 180
    while words not in (said := (folder / "log").read_text(encoding="utf-8")):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def test_a_crawler_that_starts_before_its_store_crawls_as_soon_as_that_answers(
    own_site: OwnSite, tmp_path: Path
) -> None:
    site, _ = own_site(4)
    port = free_port()
    uri = f"mongodb://127.0.0.1:{port}"
    process = _rounds(tmp_path, crawl_config("rounds", {"name": "pond", "start": f"{site}/"}), uri)
    store = None
    try:
        _until_logged(tmp_path, "does not answer")
        (tmp_path / "store").mkdir()
        store = start_store(tmp_path / "store", port)
        _until_logged(tmp_path, "The crawl exited with code 0; the next starts in 3")
        assert ArticleStore.connect(uri, "rounds").articles.count_documents({}) > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        if store:
            stop(store)


def test_after_a_failed_crawl_the_next_one_comes_sooner(mongodb_uri: str, database: str, tmp_path: Path) -> None:
    nobody = {"name": "pond", "start": f"http://127.0.0.1:{free_port()}/"}
    process = _rounds(tmp_path, crawl_config(database, nobody), mongodb_uri)
    try:
        _until_logged(tmp_path, "The crawl exited with code 2; the next starts in 8")  # of 900 seconds
    finally:
        process.kill()
        process.wait()


def test_without_an_address_or_a_configuration_nothing_is_waited_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scraper.repeat", "--config", str(tmp_path / "absent.yaml")]
    environment = {name: value for name, value in os.environ.items() if name != "TEXTMILL_MONGODB_URI"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
