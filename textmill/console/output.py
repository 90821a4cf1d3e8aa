"""What a person sees: steps, progress and results of work that runs in a child process.

The child's own output, hundreds of lines of it, goes to a log file that every failure names.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from textmill.ground.errors import TextmillError, UserError

console = Console(highlight=False)


def say(text: str) -> None:
    """Print one line."""
    console.print(text, markup=False, soft_wrap=True)


def done(title: str, text: str = "") -> None:
    """Print the result of a step."""
    console.print(f"[green]✓[/green] [bold]{title}[/bold]", end="  " if text else "\n")
    if text:
        console.print(text, markup=False, soft_wrap=True)


def undone(title: str, text: str) -> None:
    """Print that a step has no result, and why."""
    console.print(f"[red]✗[/red] [bold]{title}[/bold]  {text}")


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show that something is under way whose length is not known."""
    if console.is_terminal:
        with console.status(f"{title} …"):
            yield
    else:
        say(f"  {title} …")
        yield


def exit_with(error: BaseException) -> int:
    """Say in one sentence, on stderr, why the command ends, and return its exit code."""
    from pymongo.errors import PyMongoError  # here: --help needs neither
    from requests import RequestException

    if isinstance(error, KeyboardInterrupt):
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    if isinstance(error, TextmillError):
        print(f"textmill: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, PyMongoError):
        print(
            f"textmill: The article store failed ({type(error).__name__}); see that it runs, and try again.",
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
