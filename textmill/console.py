"""What a person sees: steps, progress and results of work that runs in a child process.

The child's own output, hundreds of lines of it, goes to a log file that every failure names.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from textmill.ground.errors import TextmillError, UserError

console = Console(highlight=False)
_LINE_EVERY_S = 10  # where output is no terminal
_STOP_WITHIN_S = 20


class StepFailed(TextmillError):
    """A child process failed and said why, in a sentence of its own."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def say(text: str) -> None:
    """Print one line."""
    console.print(text, markup=False, soft_wrap=True)


def done(title: str, text: str = "") -> None:
    """Print the result of a step."""
    console.print(f"[green]✓[/green] [bold]{title}[/bold]", end="  " if text else "\n")
    if text:
        console.print(text, markup=False, soft_wrap=True)


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show that something is under way whose length is not known."""
    if console.is_terminal:
        with console.status(f"{title} …"):
            yield
    else:
        say(f"  {title} …")
        yield


class _Display:
    """Steps as they come: a bar in a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.step: str | None = None
        self.results: list[str] = []
        self._task: TaskID | None = None
        self._said = time.monotonic()
        self._started = self._said
        self._first: tuple[float, float] | None = None  # when the step first said how far it is, and how far that was
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "_Display":
        if console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self._bars.stop()

    def begin(self, step: str) -> None:
        self.end()
        # a step of the plan that was passed over did not run: what it made before still holds
        while step in self.plan and self.plan[0] != step:
            done(self.plan.pop(0), "nothing changed, reused")
        if step in self.plan:
            self.plan.remove(step)
        self.step, self._started = step, time.monotonic()
        self._said, self._first = self._started, None
        if console.is_terminal:
            self._task = self._bars.add_task(step, total=None, figures="")
        else:
            say(f"  {step} …")

    def progress(self, done: float, total: float, text: str) -> None:
        since, from_ = self._first = self._first or (time.monotonic(), done)
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total, figures=text)
        elif not console.is_terminal and time.monotonic() - self._said > _LINE_EVERY_S:
            self._said = time.monotonic()
            # a step that goes on where it was stopped has done some of its work before
            now = done - from_
            # before a fiftieth is done, most of the time went into getting ready
            left = f"  {(self._said - since) * (total - done) / now:.0f} s left" if now > total / 50 else ""
            say(f"  {self.step} {done / total:4.0%}  {text}{left}")

    def end(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        if self.step is not None:
            seconds = time.monotonic() - self._started
            done(self.step, "\n  ".join([*self.results]) + (f" ({seconds:.0f} s)" if seconds >= 2 else ""))
        self.step, self.results = None, []

    def finish(self) -> None:
        self.end()
        for step in self.plan:
            done(step, "nothing changed, reused")


def run_child(
    command: Sequence[str], log: Path, environment: dict[str, str], verbose: bool = False, first: str = ""
) -> dict[str, Any]:
    """Run work in a child process, show its progress, and return the outcome it reports.

    Args:
        first: what it does before it can report: importing, mostly.

    Raises:
        StepFailed: the child failed; its sentence, or else where its log is.
        KeyboardInterrupt: Ctrl-C, after the child has ended.
    """
    child, events = start_child(command, log, environment, verbose)
    try:
        with events:
            outcome, failure = _watch(events, first)
        code = child.wait()
    except BaseException:
        stop(child)
        raise
    if failure is not None:
        raise failed(failure, log)
    if code:
        raise StepFailed(f"'{' '.join(command[1:4])}' ended with code {code}; its log is {log}.", 1)
    return outcome


def start_child(
    command: Sequence[str], log: Path, environment: dict[str, str], verbose: bool
) -> tuple[subprocess.Popen[bytes], TextIO]:
    """Start work in a child process; gives it, and the events that it sends, one JSON object a line."""
    reading, writing = os.pipe()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=None if verbose else output,
            stderr=None if verbose else output,
            env={**os.environ, **environment, "TEXTMILL_PROGRESS_FD": str(writing), "PYTHONUNBUFFERED": "1"},
            pass_fds=(writing,),
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )
    os.close(writing)
    return child, os.fdopen(reading, encoding="utf-8")


def failed(event: dict[str, Any], log: Path) -> StepFailed:
    """The error that a child's `failed` event stands for."""
    return StepFailed(f"{event['sentence']} (log: {log})", event["exit_code"])


def _watch(events: TextIO, first: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    outcome: dict[str, Any] = {}
    failure: dict[str, Any] | None = None
    with _Display() as display:
        shown: dict[str, Callable[[dict[str, Any]], None]] = {
            "plan": lambda event: display.plan.extend(event["steps"]),
            "step": lambda event: display.begin(event["name"]),
            "progress": lambda event: display.progress(event["done"], event["total"], event["text"]),
            "note": lambda event: say(f"    {event['text']}"),
            "result": lambda event: display.results.append(event["text"]),
            "outcome": lambda event: outcome.update(event["values"]),
        }
        if first:
            display.begin(first)
        for line in events:
            event = json.loads(line)
            if event["event"] == "failed":
                failure = event
                display.step = None
                display.plan.clear()
            else:
                shown[event["event"]](event)
        if failure is None:
            display.finish()
    return outcome, failure


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a child and what it started: asked first, then made to."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        try:
            os.killpg(child.pid, number)
            child.wait(_STOP_WITHIN_S)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue


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
