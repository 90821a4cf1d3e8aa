"""`textmill status`: the articles, the versions, the servers and the next command."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from textmill.commands.project import DEFAULT, ConfigFile, Json, project_of
from textmill.ground.environment import without_password

if TYPE_CHECKING:
    from rich.table import Table

    from textmill.commands.project import Project
    from textmill.registry.model_registry import Version


_DECISIONS = 5  # of watching, that the status shows
_NARROW = 60  # columns: below, the versions' dates are left out


def status(as_json: Json = False, config: ConfigFile = DEFAULT) -> None:
    """Show the articles, the versions and the servers."""

    show(project_of(config), as_json)


@dataclass(frozen=True, slots=True)
class _Status:
    """What the status shows."""

    articles: dict[str, int]  # by configured source
    versions: list[Version]  # the newest first
    pages: dict[int, str]  # each version's page in MLflow
    mlflow: str
    tensorboard: str | None
    watched: tuple[datetime, dict[str, Any]] | None
    decisions: list[dict[str, Any]]
    next: str

    @classmethod
    def of(cls, project: Project) -> _Status:
        from textmill.commands import next_step
        from textmill.monitoring.decision_log import WatchLog

        found, store, registry = project.addresses, project.store, project.registry
        counts, versions = store.count_by_source(), registry.versions()
        names = [*(source.name for source in project.config.sources), *project.config.corpus.imported]
        articles = {name: counts.get(name, 0) for name in names}
        log = WatchLog(store.database, project.config.name)
        return cls(
            articles,
            versions,
            {version.number: registry.page(version.number) for version in versions},
            without_password(found.mlflow),
            found.tensorboard,
            log.last_look(),
            list(log.decisions(_DECISIONS)),
            next_step.of_status(registry, sum(articles.values()), versions),
        )


def show(project: Project, as_json: bool = False) -> None:
    """Print the articles per site, the versions with their stages, the addresses and the next command."""
    from rich.table import Table

    from textmill.console import output

    found = _Status.of(project)
    if as_json:
        output.as_json(_record(project.config.name, found))
        return
    table = Table("source", "articles", box=None, pad_edge=False)
    for name, count in found.articles.items():
        table.add_row(name, f"{count:,}")
    output.table(table)
    output.say("")
    _show_versions(project.config.name, found.versions)
    _show_watching(found)
    output.say("")
    newest = found.versions[0].number if found.versions else 0
    output.say(f"MLflow       {found.pages.get(newest, found.mlflow)}")
    output.say(f"TensorBoard  {found.tensorboard or 'not running'}")
    output.say(f"Next: {found.next}")


def _record(name: str, found: _Status) -> dict[str, Any]:
    """The status as docs/runs.md describes its JSON."""
    time, figures = found.watched or (None, {})
    return {
        "name": name,
        "articles": found.articles,
        "versions": [
            {
                "version": each.number,
                "stage": each.stage,
                "bits_per_byte": float(each.tags["bits_per_byte"]) if "bits_per_byte" in each.tags else None,
                "made": each.created,
                "doubt": each.doubt,
                "page": found.pages[each.number],
            }
            for each in found.versions
        ],
        "mlflow": found.mlflow,
        "tensorboard": found.tensorboard,
        "watched": {"time": time, "figures": figures} if time else None,
        "decisions": [{key: each[key] for key in ("time", "what", "why")} for each in found.decisions],
        "next": found.next,
    }


def _show_versions(name: str, versions: list[Version]) -> None:
    """Print a table of the versions, and in a terminal what speaks against the newest below it."""
    from textmill.console import output

    if not versions:
        output.say(f"No version of '{name}' yet; 'textmill run' makes the first.")
        return
    output.table(_versions(versions, output.columns(), output.console.is_terminal))
    if output.console.is_terminal and versions[0].doubt:
        output.console.print(f"\nVersion {versions[0].number} is {versions[0].doubt}.", markup=False)


def _versions(versions: list[Version], columns: int, short: bool) -> Table:
    """The versions in so many columns; `short`: the remark is one word."""
    from rich.markup import escape
    from rich.table import Table

    dated = columns >= _NARROW
    head = ["version", "stage", "bits per byte", *(["made (UTC)"] if dated else []), "remark"]
    table = Table(*head, box=None, pad_edge=False)
    for each in versions:
        made = [f"{each.created:%Y-%m-%d %H:%M}"] if dated else []
        remark = each.doubt.partition(":")[0] if short else each.doubt
        table.add_row(str(each.number), each.stage, each.tags.get("bits_per_byte", ""), *made, escape(remark))
    return table


def _show_watching(found: _Status) -> None:
    """Print the last check of `textmill watch` and its decisions; nothing if it never ran."""
    from textmill.console import output

    if found.watched is None:
        return
    time, figures = found.watched
    shown = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in figures.items())
    lines = [f"\nWatched {time:%Y-%m-%d %H:%M} UTC: {shown or 'nothing yet'}"]
    lines += [f"  {each['time']:%Y-%m-%d %H:%M} {each['what']}: {each['why']}" for each in found.decisions]
    for line in lines:
        # wrapped between words in a terminal alone
        output.console.print(line, markup=False, soft_wrap=not output.console.is_terminal)


def _short(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
