"""`textmill crawl`: the sites into the article store, once or again and again."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from textmill.commands.project import DEFAULT, ConfigFile, Verbose, project_of
from textmill.ground.environment import MONGODB
from textmill.ground.errors import TextmillError, UserError

if TYPE_CHECKING:
    from textmill.commands.project import Project


_STORE_AGAIN_S = 60.0  # after a crawl for which the store did not answer


def crawl(
    watch: Annotated[
        str, typer.Option(metavar="EVERY", help="Crawl again so often, such as 1d, 12h or 30m, until Ctrl-C.")
    ] = "",
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Crawl the sites into the article store."""
    from textmill.console import output

    project = project_of(config, verbose)
    if watch:
        crawl_again(project, seconds_in(watch))
    crawl_sites(project)
    output.say("Next: textmill run")


def crawl_sites(project: Project) -> dict[str, Any]:
    """Crawl every configured site into the store; returns the counts of each.

    Raises:
        UserError: none is configured, or the store does not answer.
    """
    from textmill.console import child_process
    from textmill.local_servers import servers

    if not project.config.sources:
        raise UserError(f"{project.file} names no site to crawl; add one under 'sources'.")
    _ = project.store  # says within five seconds if it does not answer
    environment = {MONGODB: servers.store_address(project.config.data_dir)}
    command = [sys.executable, "-P", "-m", "scraper.crawl", "--config", str(project.file), "--log-file", "-"]
    return child_process.run_child(command, project.log("crawl"), environment, project.verbose)


def seconds_in(duration: str) -> float:
    """The seconds in a duration such as '1d', '12h', '30m' or '90s'.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", duration.strip())
    if not found or float(found[1]) == 0:
        raise UserError(f"'{duration}' is no duration; write one like 1d, 12h or 30m.")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]]


def crawl_again(project: Project, every_s: float) -> NoReturn:
    """Crawl again and again, each time so many seconds after the last beginning, until Ctrl-C.

    A crawl that fails is reported, and the next one begins in its time, or within a minute where the store did not
    answer. The configuration is read afresh for each.
    """
    from textmill.commands.project import Project
    from textmill.console import output

    while True:
        began, due_s = time.monotonic(), every_s
        try:
            crawl_sites(Project.load(project.file, project.verbose))
        except TextmillError as error:
            output.say(str(error))
            if not _store_answers(project):
                due_s = min(every_s, _STORE_AGAIN_S)
        wait_s = max(0.0, due_s - (time.monotonic() - began))
        output.say(f"The next crawl begins at {datetime.now(UTC) + timedelta(seconds=wait_s):%Y-%m-%d %H:%M} UTC.")
        time.sleep(wait_s)


def _store_answers(project: Project) -> bool:
    try:
        _ = project.store
    except UserError:
        return False
    return True
