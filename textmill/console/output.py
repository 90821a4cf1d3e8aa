"""Print lines, results and errors to the terminal.

A child process's own output goes to a log file, which every error names.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from textmill.ground.errors import TextmillError, UserError

console = Console(highlight=False)
_OURS = {"textmill", "components", "pipeline", "scraper", "serving"}  # not found: a mistake of ours
_UNWRAPPED = 10_000  # columns


def say(text: str) -> None:
    """Print one line."""
    console.print(text, markup=False, soft_wrap=True)


_MARKS = {"": "[green]✓[/green]", "undecided": "[yellow]?[/yellow]", "refused": "[red]✗[/red]"}


def done(title: str, text: str = "", mark: str = "") -> None:
    """Print the result of a step, with a tick, or with the mark of a verdict."""
    console.print(f"{_MARKS[mark]} [bold]{title}[/bold]", end="  " if text else "\n")
    if text:
        console.print(text, markup=False, soft_wrap=True)


def columns() -> int:
    """The width to print tables in; a file or another program gets each row as one line."""
    return console.width if console.is_terminal else _UNWRAPPED


def table(rows: Table) -> None:
    """Print a table; its cells wrap only in a terminal."""
    (console if console.is_terminal else Console(width=_UNWRAPPED, highlight=False)).print(rows)


def as_json(values: Any) -> None:
    """Print a value as one line of JSON; times are ISO 8601."""
    print(json.dumps(values, ensure_ascii=False, default=_iso))


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def undone(title: str, text: str) -> None:
    """Print that a step has no result, and why."""
    console.print(f"[red]✗[/red] [bold]{title}[/bold]  {text}")


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show that work of unknown length is running."""
    if console.is_terminal:
        with console.status(f"{title} …"):
            yield
    else:
        say(f"  {title} …")
        yield


def exit_with(error: BaseException) -> int:
    """Print the error as one sentence on stderr and return the exit code."""
    from pymongo.errors import PyMongoError  # here: --help needs neither
    from requests import RequestException

    if isinstance(error, KeyboardInterrupt):
        print("\nStopped; run the same command again to resume.", file=sys.stderr)
        return 130
    if isinstance(error, TextmillError):
        print(f"textmill: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in _OURS:
        print(
            f"textmill: The package '{error.name}' is not installed; install textmill[pipeline] to crawl and to train, "
            "or textmill[serve] to serve.",
            file=sys.stderr,
        )
        return UserError.exit_code
    if isinstance(error, PyMongoError):
        print(
            f"textmill: The article store failed ({type(error).__name__}); check that it runs, then try again.",
            file=sys.stderr,
        )
        return UserError.exit_code
    if isinstance(error, OSError) and not isinstance(error, RequestException):
        print(
            f"textmill: {error.strerror or error}: {error.filename or ''}; check the disk and the folder.",
            file=sys.stderr,
        )
        return UserError.exit_code
    raise error
