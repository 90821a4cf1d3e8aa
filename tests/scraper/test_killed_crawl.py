"""A crawl that is killed again and again, then run to its end, leaves what one leaves that never was."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from crawl_runs import ROOT, crawl_command, crawl_config, run_crawl

from textmill.articles.store import ArticleStore

KILLS = 10
ARTICLES = 120  # more than two batches

OwnSite = Callable[[int], tuple[str, Path]]


def state(store: ArticleStore) -> dict[str, list[tuple[str, bool]]]:
    """By URL: the texts that it ever had, in their order, and whether each is still held."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for version in store.versions.find().sort([("url", 1), ("valid_from", 1)]):
        found.setdefault(version["url"], []).append((version["content_hash"], version["valid_to"] is None))
    assert {article["url"] for article in store.articles.find()} == set(found)
    return found


def test_a_crawl_killed_ten_times_at_random_moments_ends_with_the_same_articles(
    own_site: OwnSite, mongodb_uri: str, database: str, store: ArticleStore, tmp_path: Path
) -> None:
    site, _ = own_site(ARTICLES)
    source = {"name": "millpond", "start": f"{site}/"}
    began = time.monotonic()
    whole = run_crawl(tmp_path, mongodb_uri, crawl_config(f"{database}-whole", source))
    duration = time.monotonic() - began
    chance = random.Random(7)
    stored: list[int] = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            crawl_command(tmp_path, crawl_config(database, source)),
            cwd=ROOT,
            env=os.environ | {"TEXTMILL_MONGODB_URI": mongodb_uri},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(duration * chance.uniform(0.3, 0.8))
        process.kill()
        process.wait()
        stored.append(store.versions.count_documents({}))
    last = run_crawl(tmp_path, mongodb_uri, crawl_config(database, source))
    assert (whole.code, last.code) == (0, 0)
    assert state(store) == state(ArticleStore.connect(mongodb_uri, f"{database}-whole")), stored
    print(f"articles stored after each kill: {stored}, at the end {store.articles.count_documents({})}")
