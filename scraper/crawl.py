"""Crawl the configured sites into the article store.

    python -m scraper.crawl --config textmill.yaml

TEXTMILL_MONGODB_URI is the store's address. Scrapy's log goes to a file or to stderr; progress for people goes through
`textmill.console.progress`.
"""

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from textmill.console import progress
from textmill.ground.errors import TextmillError, UserError
from textmill.settings.config import Config
from textmill.settings.sites import Source
from textmill.settings.yaml_file import DEFAULT_FILE, load

if TYPE_CHECKING:
    from scraper.storage.counts import CrawlCounts

STORE_VARIABLE = "TEXTMILL_MONGODB_URI"
INTERRUPTED = 130  # what shells give for SIGINT


def crawl(config: Config, mongodb_uri: str, log_file: Path | None) -> "dict[str, CrawlCounts]":
    """Crawl every source of a configuration and return its counts by name. Call it once per process.

    Scrapy's log goes to `log_file`; None: to stderr.
    A source that fails is reported, with the reason in `CrawlCounts.failure`; the others continue.

    Raises:
        UserError: the store does not answer, or every source failed.
        KeyboardInterrupt: SIGINT or SIGTERM came. Fetched articles are stored.
    """
    from scraper import runner  # Scrapy takes a second to import: signals are heeded before
    from textmill.articles.store import ArticleStore

    for source in config.sources:
        _check_patterns(source)
        _check_selectors(source)
    ArticleStore.connect(mongodb_uri, config.store.database)  # makes the indexes
    counts = runner.run(config, mongodb_uri, log_file)
    failures = [each.failure for each in counts.values() if each.failure]
    if len(failures) == len(counts):
        if len(failures) == 1:
            raise UserError(failures[0])
        raise UserError(f"All {len(failures)} sites failed: {' '.join(failures)}")
    return counts


def _check_patterns(source: Source) -> None:
    for pattern in (*source.include, *source.exclude):
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"'{pattern}', in 'include' or 'exclude' of the source '{source.name}', is not a regular expression "
                f"({error}); put a backslash before special characters."
            ) from None


def _check_selectors(source: Source) -> None:
    from lxml.cssselect import CSSSelector
    from lxml.etree import LxmlError

    for name in ("title_selector", "text_selector", "author_selector", "date_selector"):
        selector = getattr(source, name)
        try:
            _ = CSSSelector(selector, translator="html") if selector else None
        except (SyntaxError, LxmlError) as error:
            raise UserError(
                f"'{selector}', the {name} of the source '{source.name}', is not a CSS selector ({error}); "
                "write one like 'article .body'."
            ) from None


def main() -> int:
    """Run the command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="scraper.crawl", description="Crawl the configured sites into the store.")
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, help="configuration file (default: textmill.yaml)")
    parser.add_argument("--log-file", help="file for Scrapy's log; '-': stderr (default: logs/crawl.log in data_dir)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    progress.follow_parent()
    try:
        config = load(options.config)
        log_file = Path(options.log_file or config.data_dir / "logs" / "crawl.log")
        counts = crawl(config, store_address(), None if options.log_file == "-" else log_file)
    except KeyboardInterrupt:
        return INTERRUPTED
    except TextmillError as error:
        progress.failed(str(error), error.exit_code)
        print(error, file=sys.stderr)
        return error.exit_code
    progress.outcome(**{name: each.values() for name, each in counts.items()})
    return 0


def store_address() -> str:
    """The store's address from the environment.

    Raises:
        UserError: the variable is not set.
    """
    address = os.environ.get(STORE_VARIABLE)
    if not address:
        raise UserError(f"{STORE_VARIABLE} is not set; set it to the store's address, or run 'textmill crawl' instead.")
    return address


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
