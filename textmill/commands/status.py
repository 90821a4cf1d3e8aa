"""`textmill status`: the articles, the versions and the servers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from textmill.commands.project import DEFAULT, ConfigFile, project_of
from textmill.ground.environment import without_password

if TYPE_CHECKING:
    from rich.table import Table

    from textmill.commands.project import Project
    from textmill.monitoring.decision_log import WatchLog
    from textmill.registry.model_registry import Version


_DECISIONS = 5  # of watching, that the status shows


def status(config: ConfigFile = DEFAULT) -> None:
    """Show the articles, the versions and the servers."""

    show(project_of(config))


def show(project: Project) -> None:
    """Print the articles of each site, the versions with their stages, and the addresses."""
    from rich.table import Table

    from textmill.console.output import console, say
    from textmill.monitoring.decision_log import WatchLog

    found = project.addresses
    articles = project.store.count_by_source()
    versions = project.registry.versions()
    table = Table("source", "articles", box=None, pad_edge=False)
    for name in [*(source.name for source in project.config.sources), *project.config.corpus.imported]:
        table.add_row(name, f"{articles.get(name, 0):,}")
    console.print(table)
    console.print()
    if versions:
        console.print(_versions(versions))
    else:
        say(f"No version of '{project.config.name}' yet; 'textmill run' makes the first.")
    _watching(WatchLog(project.store.database, project.config.name))
    console.print()
    say(f"MLflow       {without_password(found.mlflow)}")
    say(f"TensorBoard  {found.tensorboard or 'not running'}")


def _watching(log: WatchLog) -> None:
    """What watching saw last, and decided; nothing where nobody watches."""
    from textmill.console.output import console, say

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
    from rich.table import Table

    table = Table("version", "stage", "bits per byte", "made (UTC)", "remark", box=None, pad_edge=False)
    for version in versions:
        made = f"{version.created:%Y-%m-%d %H:%M}"
        table.add_row(str(version.number), version.stage, version.tags.get("bits_per_byte", ""), made, version.doubt)
    return table
