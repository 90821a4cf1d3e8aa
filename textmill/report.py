"""What stands where: the articles, the versions and the servers; and whether this machine has what is needed."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from textmill.articles.store import ArticleStore
from textmill.console.output import console, say
from textmill.ground.environment import MLFLOW, MONGODB, without_password
from textmill.ground.errors import TextmillError
from textmill.local_servers.servers import addresses
from textmill.monitoring.decision_log import WatchLog
from textmill.registry.model_registry import ModelRegistry, Version
from textmill.registry.promotion_log import Move
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config
from textmill.steps import Project

_DECISIONS = 5  # of watching, that the status shows
_DISK_GB = 4  # dependencies and a small model's runs
_UNWRAPPED = 10_000  # columns


def status(project: Project) -> None:
    """Print the articles of each site, the versions with their stages, and the addresses."""
    found = project.addresses
    articles = project.store.count_by_source()
    versions = project.registry.versions()
    table = Table("site", "articles", box=None, pad_edge=False)
    for source in project.config.sources:
        table.add_row(source.name, f"{articles.get(source.name, 0):,}")
    console.print(table)
    console.print()
    if versions:
        console.print(_versions(versions))
    else:
        say(f"No version of '{project.config.name}' yet; 'textmill run' makes the first.")
    _watching(WatchLog(project.store.articles.database, project.config.name))
    console.print()
    say(f"MLflow       {without_password(found.mlflow)}")
    say(f"TensorBoard  {found.tensorboard or 'not running'}")


def _watching(log: WatchLog) -> None:
    """What watching saw last, and decided; nothing where nobody watches."""
    look = log.last_look()
    if look is None:
        return
    time, figures = look
    shown = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in figures.items())
    console.print()
    say(f"Watched {time:%Y-%m-%d %H:%M} UTC: {shown or 'nothing yet'}")
    for each in log.decisions(_DECISIONS):
        say(f"  {each['time']:%Y-%m-%d %H:%M} {each['what']}: {each['why']}")


def _short(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _versions(versions: list[Version]) -> Table:
    table = Table("version", "stage", "bits per byte", "made (UTC)", "remark", box=None, pad_edge=False)
    for version in versions:
        remark = f"refused: {version.refused}" if version.refused else ""
        made = f"{version.created:%Y-%m-%d %H:%M}"
        table.add_row(str(version.number), version.stage, version.tags.get("bits_per_byte", ""), made, remark)
    return table


def history(project: Project, as_json: bool = False) -> None:
    """Print the promotion log, the oldest entry first: a table, or one JSON object a line."""
    moves = project.registry.history()
    if as_json:
        for move in moves:
            print(json.dumps(asdict(move), ensure_ascii=False))
    elif moves:
        # a file or another program wants whole lines
        printer = console if console.is_terminal else Console(width=_UNWRAPPED)
        printer.print(_moves(moves))
    else:
        say(f"No version of '{project.config.name}' has been moved yet.")


def _moves(moves: list[Move]) -> Table:
    table = Table("time (UTC)", "version", "from -> to", "who", "bits per byte", "why", box=None, pad_edge=False)
    for move in moves:
        why = f"{move.why} (refused: {move.refused})" if move.refused else move.why
        table.add_row(
            f"{move.time[:10]} {move.time[11:19]}",
            str(move.version),
            f"{move.former} -> {move.stage}",
            escape(move.who),
            move.figures.get("bits_per_byte", ""),
            escape(f"rollback from {move.undoes}: {why}" if move.undoes else why),
        )
    return table


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be so, and the cure where it is not."""

    what: str
    good: bool
    cure: str


def doctor(file: Path) -> bool:
    """Print every check; true when all are good."""
    checks = list(_checks(file))
    for check in checks:
        mark = "[green]✓[/green]" if check.good else "[red]✗[/red]"
        console.print(mark, end=" ")
        say(check.what if check.good else f"{check.what}: {check.cure}")
    return all(check.good for check in checks)


def _checks(file: Path) -> Iterator[Check]:
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
