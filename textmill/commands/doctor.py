"""`textmill doctor`: check what Textmill needs on this machine, and name the cure for what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from textmill.commands.project import DEFAULT, ConfigFile
from textmill.ground.environment import MLFLOW, MONGODB, without_password
from textmill.ground.errors import TextmillError

if TYPE_CHECKING:
    from textmill.settings.config import Config


_DISK_GB = 4  # dependencies and a small model's runs


def doctor(config: ConfigFile = DEFAULT) -> None:
    """Check what Textmill needs on this machine, and say how to fix what is missing."""

    raise typer.Exit(0 if all_good(config) else 2)


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement, whether it is met, and the cure if not."""

    what: str
    good: bool
    cure: str


def all_good(file: Path) -> bool:
    """Print every check; return whether all passed."""
    from textmill.console.output import console, say

    checks = list(_checks(file))
    for check in checks:
        mark = "[green]✓[/green]" if check.good else "[red]✗[/red]"
        console.print(mark, end=" ")
        say(check.what if check.good else f"{check.what}: {check.cure}")
    return all(check.good for check in checks)


def _checks(file: Path) -> Iterator[Check]:
    from textmill.local_servers.servers import addresses
    from textmill.settings import yaml_file as configuration

    version = sys.version_info
    yield Check(f"Python {version.major}.{version.minor}", version >= (3, 11), "Textmill needs Python 3.11 or newer")
    for extra, module in (("crawl", "scrapy"), ("pipeline", "tfx"), ("serve", "onnxruntime"), ("serve", "fastapi")):
        yield Check(
            f"package {module}", find_spec(module) is not None, f"install the extra '{extra}', or run 'make install'"
        )
    store = bool(os.environ.get(MONGODB)) or Path(sys.executable).with_name("secantusd-py").exists()
    yield Check("an article store", store, f"install the extra 'local' or set {MONGODB}")
    try:
        config = configuration.load(file)
    except TextmillError as error:
        yield Check(f"configuration {file}", False, str(error))
        return
    yield Check(f"configuration {file}", True, "")
    folder = config.data_dir if config.data_dir.exists() else config.data_dir.parent
    free = shutil.disk_usage(folder).free / 1e9
    yield Check(f"{free:.0f} GB of disk free for {config.data_dir}", free > _DISK_GB, f"{_DISK_GB} GB are needed")
    yield _answers("servers running", lambda: addresses(config.data_dir))
    yield from _servers(config)


def _servers(config: Config) -> Iterator[Check]:
    from textmill.articles.store import ArticleStore
    from textmill.local_servers.servers import addresses
    from textmill.registry.model_registry import ModelRegistry

    try:
        found = addresses(config.data_dir)
    except TextmillError:
        return
    yield _answers(
        f"article store at {without_password(found.mongodb)}",
        lambda: ArticleStore.connect(found.mongodb, config.store.database),
    )
    yield _answers(
        f"MLflow at {without_password(found.mlflow)}", lambda: ModelRegistry(found.mlflow, config.name).check()
    )
    for name, value in ((MONGODB, found.mongodb), (MLFLOW, found.mlflow)):
        source = "the environment" if os.environ.get(name) else "'textmill up'"
        yield Check(f"{without_password(value)} comes from {source}", True, "")


def _answers(what: str, call: Callable[[], object]) -> Check:
    try:
        call()
    except TextmillError as error:
        return Check(what, False, str(error))
    return Check(what, True, "")
