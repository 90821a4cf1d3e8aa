"""Pages per second of a crawl with extraction and storing, beside bare Scrapy fetching the same pages.

    python benchmarks/crawling.py [--pages 2000] [--rounds 3] [--profile]

The example site, made `--pages` articles large, is served on loopback by a process of its own; the store is another. Bare
Scrapy gets the list of the pages that ours fetched and does nothing with them; both fetch with the same concurrency,
without a delay, and obey robots.txt. What extraction costs alone is measured over the same pages, in one process. Rounds
alternate, and the medians of their ratios count; times run from the spider's start to its end, so imports do not count. The last line
is JSON: `vs_bare_scrapy`, and `vs_fetch_and_extraction`, which is what no crawler on one core could do better than 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from cpu import last_line
from pymongo import MongoClient

from textmill.articles.store import ArticleStore

ROOT = Path(__file__).resolve().parent.parent
CONCURRENCY = 16

_BARE = """
import sys, time
from pathlib import Path
from scrapy import Spider
from scrapy.crawler import CrawlerProcess

class Bare(Spider):
    name = "bare"
    start_urls = Path(sys.argv[1]).read_text().split()
    fetched = 0

    def parse(self, response):
        self.fetched += 1
        self.size = len(response.body)

process = CrawlerProcess({"CONCURRENT_REQUESTS": %d, "CONCURRENT_REQUESTS_PER_DOMAIN": %d, "LOG_LEVEL": "ERROR",
    "ROBOTSTXT_OBEY": True, "TELNETCONSOLE_ENABLED": False, "HTTPERROR_ALLOW_ALL": True})
crawler = process.create_crawler(Bare)
process.crawl(crawler)
process.start()
print(crawler.spider.fetched, crawler.stats.get_value("elapsed_time_seconds"))
"""


@contextmanager
def child(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def site(pages: int) -> Iterator[str]:
    """The example site's address."""
    with child([sys.executable, "examples/site.py", "--port", "0", "--pages", str(pages)]) as process:
        assert process.stdout
        yield process.stdout.readline().split()[-1]


@contextmanager
def store(folder: Path, port: int) -> Iterator[str]:
    """The address of a MongoDB: TEXTMILL_MONGODB_URI's, or else one started here."""
    if address := os.environ.get("TEXTMILL_MONGODB_URI"):
        yield address
        return
    command = [str(Path(sys.executable).with_name("secantusd-py")), "--host", "127.0.0.1", "--port", str(port)]
    with child([*command, "--storage-path", str(folder), "--log-level", "ERROR"]):
        uri = f"mongodb://127.0.0.1:{port}"
        with MongoClient[dict[str, object]](uri, serverSelectionTimeoutMS=30_000) as client:
            client.admin.command("ping")
        yield uri


def ours(start: str, uri: str, database: str, folder: Path, profile: bool) -> tuple[float, float, list[str]]:
    """Pages per second, seconds, and the pages of one crawl into an empty store."""
    config = {
        "name": "benchmark",
        "store": {"database": database},
        "sources": [{"name": "millpond", "start": start, "max_pages": 1_000_000, "depth": 10_000}],
        "crawl": {"delay_s": 0, "concurrency": CONCURRENCY},
    }
    (folder / "textmill.yaml").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, *(["-m", "cProfile", "-o", str(folder / "crawl.prof")] if profile else [])]
    command += ["-m", "scraper.crawl", "--config", str(folder / "textmill.yaml")]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"TEXTMILL_MONGODB_URI": uri}, check=True)
    held = ArticleStore.connect(uri, database)
    crawl = held.crawls.find_one() or {}
    seconds = (crawl["ended"] - crawl["started"]).total_seconds()
    pages = [page["url"] for page in held.pages.find({}, {"url": 1})]
    return crawl["pages"] / seconds, seconds, pages


def bare(pages: Path) -> tuple[float, float]:
    """Pages per second and seconds of Scrapy alone."""
    code = _BARE % (CONCURRENCY, CONCURRENCY)
    done = subprocess.run([sys.executable, "-c", code, str(pages)], capture_output=True, text=True, check=True)
    fetched, seconds = done.stdout.split()
    return int(fetched) / float(seconds), float(seconds)


def extraction(urls: list[str]) -> float:
    """Seconds that parsing and extraction take over these pages, fetched beforehand, in one process."""
    from scraper.extraction.article import Answer, article_of
    from scraper.extraction.page import Page
    from textmill.articles.article import now
    from textmill.settings.sites import Source

    bodies = [(url, urlopen(url).read().decode()) for url in urls]
    source, began = Source(name="millpond", start=urls[0]), time.perf_counter()
    for url, body in bodies:
        page = Page(body, url)
        list(page.links())
        article_of(page, source, 60, Answer(now()))
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description="Crawl the example site with Textmill and with bare Scrapy.")
    parser.add_argument("--pages", type=int, default=2000, help="articles of the site (default: 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="of each contestant (default: 3)")
    parser.add_argument("--port", type=int, default=27_918, help="for the store, where none is running")
    parser.add_argument("--profile", action="store_true", help="show where one more crawl of ours spends its time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crawling-") as name, site(options.pages) as start:
        folder = Path(name)
        with store(folder / "store", options.port) as uri:
            compare(start, uri, folder, options.rounds)
            if options.profile:
                ours(start, uri, f"crawling-{os.getpid()}-profile", folder, True)
                show_profile(folder / "crawl.prof")
    return 0


def compare(start: str, uri: str, folder: Path, rounds: int) -> None:
    """Run the rounds and print their figures."""
    mine: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    alone: list[float] = []
    listed = folder / "pages.txt"
    for number in range(rounds):
        rate, seconds, pages = ours(start, uri, f"crawling-{os.getpid()}-{number}", folder, False)
        mine.append((rate, seconds))
        fetchable = [page for page in pages if "/private/" not in page]
        listed.write_text("\n".join(fetchable), encoding="utf-8")
        theirs.append(bare(listed))
        alone.append(extraction([page for page in fetchable if page.endswith((".html", "/"))]))
        print(
            f"round {number + 1}: ours {rate:.0f} pages/s ({seconds:.1f} s), bare Scrapy {theirs[-1][0]:.0f} pages/s "
            f"({theirs[-1][1]:.1f} s), extraction alone {alone[-1]:.1f} s"
        )
    # a round's contestants run one after another, so its ratios bear a machine whose load drifts
    against_bare = [one[0] / other[0] for one, other in zip(mine, theirs, strict=True)]
    against_both = [(other[1] + read) / one[1] for one, other, read in zip(mine, theirs, alone, strict=True)]
    figures = {
        "pages_per_s": round(statistics.median(each[0] for each in mine), 1),
        "bare_scrapy_pages_per_s": round(statistics.median(each[0] for each in theirs), 1),
        "extraction_s": round(statistics.median(alone), 2),
        "vs_bare_scrapy": round(statistics.median(against_bare), 3),
        "vs_fetch_and_extraction": round(statistics.median(against_both), 3),
    }
    last_line(figures)


def show_profile(file: Path) -> None:
    """Print the functions in which a crawl spends most time."""
    import pstats

    pstats.Stats(str(file)).sort_stats("cumulative").print_stats(r"scraper|trafilatura|pymongo|twisted", 30)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
