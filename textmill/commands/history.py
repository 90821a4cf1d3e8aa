"""`textmill history`: the promotion log."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from textmill.commands.project import DEFAULT, ConfigFile, Json, project_of

if TYPE_CHECKING:
    from rich.table import Table

    from textmill.commands.project import Project
    from textmill.registry.promotion_log import Move


def history(as_json: Json = False, config: ConfigFile = DEFAULT) -> None:
    """Show the promotion log: who moved which version, when, where and why."""

    show(project_of(config), as_json)


def show(project: Project, as_json: bool = False) -> None:
    """Print the promotion log, oldest entry first: a table, or one JSON object per line."""
    from textmill.console import output

    moves = project.registry.history()
    if as_json:
        for move in moves:
            output.as_json(asdict(move))
    elif moves:
        output.table(_moves(moves))
    else:
        output.say(f"No version of '{project.config.name}' has been moved yet.")


def _moves(moves: list[Move]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("time (UTC)", "version", "from -> to", "who", "bits per byte", "why", box=None, pad_edge=False)
    for move in moves:
        why = f"{move.why} ({move.doubt})" if move.doubt else move.why
        table.add_row(
            f"{move.time[:10]} {move.time[11:19]}",
            str(move.version),
            f"{move.former} -> {move.stage}",
            escape(move.who),
            move.figures.get("bits_per_byte", ""),
            escape(f"rollback from {move.undoes}: {why}" if move.undoes else why),
        )
    return table
