"""Crawl repeatedly, as the only process of a container.

    python -m scraper.repeat --every 86400 --config textmill.yaml [OPTION OF scraper.crawl...]

Each crawl is a separate process, because Scrapy runs only once per process. While the store does not answer, no crawl
starts and the store is checked again soon. After a failed crawl, the next starts within 15 minutes.
"""

import argparse
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from scraper.crawl import store_address
from textmill.articles.store import ArticleStore
from textmill.ground.errors import TextmillError, UserError
from textmill.settings.yaml_file import DEFAULT_FILE, load

_log = logging.getLogger(__name__)
_STORE_AGAIN_S = 10.0
_CRAWL_AGAIN_S = 900.0  # after a failure; sites are not to be asked more often than that


def main() -> int:
    """Crawl until SIGTERM or SIGINT. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scraper.repeat", description="Crawl the configured sites repeatedly.")
    parser.add_argument("--every", type=float, default=86_400, help="seconds between the starts of two crawls")
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, help="configuration file (default: textmill.yaml)")
    options, others = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    logging.Formatter.converter = time.gmtime
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    command = [sys.executable, "-P", "-m", "scraper.crawl", "--config", str(options.config), *others]
    try:
        crawl_in_rounds(command, options.config, options.every)
    except TextmillError as error:
        print(f"textmill: {error}", file=sys.stderr)
        return error.exit_code


def crawl_in_rounds(command: Sequence[str], file: Path, every_s: float) -> NoReturn:
    """Wait for the store, crawl, wait for the next start, repeat.

    Raises:
        UserError: the configuration is wrong, or the store's address is not set.
    """
    while True:
        wait_for_store(store_address(), load(file).store.database)
        began = time.monotonic()
        code = _run(command)
        due_s = every_s if code == 0 else min(every_s, _CRAWL_AGAIN_S)
        wait_s = max(0.0, began + due_s - time.monotonic())
        _log.info("The crawl exited with code %d; the next starts in %.0f s.", code, wait_s)
        time.sleep(wait_s)


def wait_for_store(address: str, database: str, every_s: float = _STORE_AGAIN_S) -> None:
    """Wait until the article store answers."""
    waiting = False
    while True:
        try:
            ArticleStore.connect(address, database)
        except UserError as error:
            if not waiting:
                _log.warning("%s Checking again every %.0f s.", error, every_s)
            waiting = True
            time.sleep(every_s)
        else:
            return


def _run(command: Sequence[str]) -> int:
    """Run one crawl. On SIGTERM or SIGINT, stop it and wait until its articles are stored."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
