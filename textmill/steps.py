"""The long pieces of work, each a child process with progress on the console: crawl, run, serve."""

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, TextIO

from textmill.articles.snapshot import Snapshot
from textmill.articles.store import ArticleStore
from textmill.console import child_process, output
from textmill.ground.environment import MLFLOW, MONGODB
from textmill.ground.errors import TextmillError, UserError
from textmill.local_servers import servers
from textmill.registry.model_registry import ModelRegistry
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config
from textmill.training.bases import resolving
from textmill.training.memory import malloc

_KEEP_LOGS = 20  # of each kind
_STORE_AGAIN_S = 60.0  # after a crawl for which the store did not answer


@dataclass(frozen=True, slots=True)
class Project:
    """One configuration file and what it says."""

    file: Path
    config: Config
    verbose: bool = False

    @classmethod
    def load(cls, file: Path, verbose: bool = False) -> "Project":
        return cls(file.absolute(), configuration.load(file), verbose)

    @property
    def addresses(self) -> servers.Addresses:
        return servers.addresses(self.config.data_dir)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(servers.tracking_address(self.config.data_dir), self.config.name)

    @property
    def store(self) -> ArticleStore:
        return ArticleStore.connect(servers.store_address(self.config.data_dir), self.config.store.database)

    def log(self, step: str) -> Path:
        """A fresh log file for one step; the oldest of its kind go."""
        path = servers.log_of(self.config.data_dir, f"{step}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        for old in sorted(path.parent.glob(f"{step}-*.log"))[: -_KEEP_LOGS + 1]:
            old.unlink(missing_ok=True)
        return path


def crawl(project: Project) -> dict[str, Any]:
    """Crawl every configured site into the store; returns the counts of each."""
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


def watch(project: Project, every_s: float) -> NoReturn:
    """Crawl again and again, each time so many seconds after the last beginning, until Ctrl-C.

    A crawl that fails is reported, and the next one begins in its time, or within a minute where the store did not
    answer. The configuration is read afresh for each.
    """
    while True:
        began, due_s = time.monotonic(), every_s
        try:
            crawl(Project.load(project.file, project.verbose))
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


def take_snapshot(project: Project) -> Snapshot:
    """Record what the store holds now, for a run to learn from.

    Raises:
        UserError: it holds nothing.
    """
    snapshot = project.store.take_snapshot(
        project.config.corpus.sources
        or [*(source.name for source in project.config.sources), *project.config.corpus.imported]
    )
    if not snapshot.articles:
        raise UserError("The store holds no article to learn from; crawl first with 'textmill crawl'.")
    return snapshot


def run(project: Project, runner: str = "local") -> dict[str, Any]:
    """Run the pipeline over what the store holds now; returns the registered version and its stage."""
    resolving.check_folder(project.config)
    addresses = project.addresses
    project.registry.check()
    snapshot = take_snapshot(project)
    command = [sys.executable, "-P", "-m", "pipeline.local", "--config", str(project.file)]
    command += ["--snapshot", str(snapshot.number), "--runner", runner]
    name = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {secrets.token_hex(2)}"
    environment = {**addresses.environment(), "TEXTMILL_RUN": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["KERAS_BACKEND"] = project.config.train.backend  # TFX imports Keras, which reads it once
    environment |= malloc.ENVIRONMENT
    return child_process.run_child(
        command, project.log("run"), environment, project.verbose, "Loading TFX and TensorFlow"
    )


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> None:
        """Wait until it ends; it should not, so that is an error."""
        code = self.process.wait()
        raise child_process.StepFailed(f"The server ended with code {code}; its log is {self.log}.", code or 1)


@contextmanager
def serving(project: Project, port: int | None = None, options: Sequence[str] = ()) -> Iterator[Server]:
    """Serve the configured stage's version while the block runs; gives the server once it is ready.

    Args:
        options: more of the server's own, such as `--workers=4`.

    Raises:
        UserError: there is no such version, or the port is in use.
    """
    config = project.config.serve
    command = [sys.executable, "-P", "-m", "serving.server", "--follow-parent", "--config", str(project.file)]
    command += ["--port", str(config.port if port is None else port), *options]
    log = project.log("serve")
    without = bool(config.worker_urls) or any(o.startswith(("--worker-urls", "--bundle")) for o in options)
    environment = {} if without else {MLFLOW: project.registry.tracking_uri}
    with suppress(UserError):  # where no store runs, ratings wait on disk
        environment[MONGODB] = servers.store_address(project.config.data_dir)
    child, events = child_process.start_child(command, log, environment, project.verbose)
    try:
        with output.waiting("Loading the model"):
            address = _wait_until_ready(events, log)
        yield Server(address, child, log)
    finally:
        child_process.stop(child)
        events.close()


def _wait_until_ready(events: TextIO, log: Path) -> str:
    """Wait for the server's word that it answers, and return its address."""
    for line in events:
        event = json.loads(line)
        if event["event"] == "failed":
            raise child_process.failed(event, log)
        if event["event"] == "outcome":
            return str(event["values"]["url"])
    raise child_process.StepFailed(f"The server ended before it was ready; its log is {log}.", 1)
