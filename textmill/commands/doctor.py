"""`textmill doctor`: check what Textmill needs on this machine, and name the cure for what is missing."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
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
_MEMORY_GB = 2  # TensorFlow, and the training of a small model
_CLOCK_S = 60  # seconds that two clocks may differ
_ANSWER_WITHIN_S = 5


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
    from textmill.settings import yaml_file as configuration

    yield from _packages()
    try:
        config = configuration.load(file)
    except TextmillError as error:
        yield Check(f"configuration {file}", False, str(error))
        return
    yield Check(f"configuration {file}", True, "")
    yield from _machine(config)
    yield from _folders(config)
    yield _port(config)
    yield _base(config)
    yield from _servers(config)


def _packages() -> Iterator[Check]:
    version = sys.version_info
    yield Check(f"Python {version.major}.{version.minor}", version >= (3, 11), "Textmill needs Python 3.11 or newer")
    for extra, module in (("crawl", "scrapy"), ("pipeline", "tfx"), ("serve", "onnxruntime"), ("serve", "fastapi")):
        yield Check(
            f"package {module}", find_spec(module) is not None, f"install the extra '{extra}', or run 'make install'"
        )
    store = bool(os.environ.get(MONGODB)) or Path(sys.executable).with_name("secantusd-py").exists()
    yield Check("an article store", store, f"install the extra 'local' or set {MONGODB}")


def _machine(config: Config) -> Iterator[Check]:
    from textmill.training.memory.devices import free_memory

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check(f"{cores} CPU core{'' if cores == 1 else 's'}", True, "")
    memory = free_memory() / 1e9
    yield Check(
        f"{memory:.1f} GB of memory free",
        memory >= _MEMORY_GB,
        f"a training needs {_MEMORY_GB} GB; end other programs, or train on a machine with more",
    )
    place = _existing(config.data_dir)
    free = shutil.disk_usage(place).free / 1e9
    yield Check(
        f"{free:.0f} GB of disk free for {config.data_dir}",
        free > _DISK_GB,
        f"{_DISK_GB} GB are needed; free some, or set data_dir to another disk",
    )


def _folders(config: Config) -> Iterator[Check]:
    """Whether the folders that Textmill writes to can be written to, or made."""
    checkpoints = [Path(config.train.checkpoint_dir)] if config.train.checkpoint_dir else []
    for folder in (config.data_dir, *checkpoints):
        place = _existing(folder)
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            cure = f"{place} cannot be written to ({error.strerror}); change its permissions, or set another folder"
            yield Check(f"folder {folder}", False, cure)
        else:
            yield Check(f"folder {folder} can be written to", True, "")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _port(config: Config) -> Check:
    """Whether the server's port is free, or Textmill's own server has it."""
    import requests

    host, port = config.serve.host, config.serve.port
    what = f"port {port} on {host}"
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        return Check(f"{what} is free", True, "")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
    try:
        ours = requests.get(f"http://{_local(host)}:{port}/healthz", timeout=_ANSWER_WITHIN_S).json()
    except (requests.RequestException, ValueError):
        ours = None
    if ours == {"status": "ok"}:
        return Check(f"{what} has a server of Textmill", True, "")
    return Check(what, False, f"{reason}; stop the program that uses it, or set serve.port")


def _local(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)


def _base(config: Config) -> Check:
    """Whether `model.base` is here, or can be fetched."""
    from textmill.gpt2.architecture import OLD_NAMES, SIZES

    name = OLD_NAMES.get(config.model.base, config.model.base)
    try:
        from textmill.training.bases import downloads, resolving
    except ImportError as error:
        return Check(f"base {name}", False, f"{error}; install the extra 'pipeline'")
    if name in SIZES or name.startswith("hf:"):
        return _answers(f"base {name}", lambda: downloads.check(name, config.data_dir / "bases"))
    return _answers(f"base {name}", lambda: resolving.check_folder(config))


def _servers(config: Config) -> Iterator[Check]:
    from textmill.articles.store import ArticleStore
    from textmill.local_servers.servers import addresses
    from textmill.registry.model_registry import ModelRegistry

    yield _answers("servers running", lambda: addresses(config.data_dir))
    try:
        found = addresses(config.data_dir)
    except TextmillError:
        return
    yield _answers(
        f"article store at {without_password(found.mongodb)}",
        lambda: ArticleStore.connect(found.mongodb, config.store.database),
    )
    registry = ModelRegistry(found.mlflow, config.name)
    answering = _answers(f"MLflow at {without_password(found.mlflow)}", registry.check)
    yield answering
    if answering.good:
        yield _clock(registry.server.seconds_behind())
    for name, value in ((MONGODB, found.mongodb), (MLFLOW, found.mlflow)):
        source = "the environment" if os.environ.get(name) else "'textmill up'"
        yield Check(f"{without_password(value)} comes from {source}", True, "")


def _clock(behind_s: float | None) -> Check:
    """Whether this machine's clock agrees with MLflow's; it may not say what time it has."""
    if behind_s is None or abs(behind_s) <= _CLOCK_S:
        return Check("clock agrees with MLflow's" if behind_s is not None else "clock (MLflow names no time)", True, "")
    direction = "behind" if behind_s > 0 else "ahead of"
    return Check(
        f"clock {abs(behind_s):,.0f} s {direction} MLflow's",
        False,
        "set the wrong one of the two, for example with 'timedatectl set-ntp true'; the log of moves needs both",
    )


def _answers(what: str, call: Callable[[], object]) -> Check:
    try:
        call()
    except TextmillError as error:
        return Check(what, False, str(error))
    return Check(what, True, "")
