"""`textmill history`: the promotion log."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from textmill.commands.project import DEFAULT, ConfigFile, project_of

if TYPE_CHECKING:
    from rich.table import Table

    from textmill.commands.project import Project
    from textmill.registry.promotion_log import Move


_UNWRAPPED = 10_000  # columns


def history(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Show the promotion log: who moved which version, when, where and why."""

    show(project_of(config), as_json)


def show(project: Project, as_json: bool = False) -> None:
    """Print the promotion log, oldest entry first: a table, or one JSON object per line."""
    from rich.console import Console

    from textmill.console.output import console, say

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
