"""Run work in a child process, show its progress, and pass on its outcome or error."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from textmill.console import progress
from textmill.console.display import Display
from textmill.console.output import say
from textmill.ground.errors import TextmillError

_INTERRUPTED = 130  # what shells give for SIGINT


def exit_code(work: Callable[[], object]) -> int:
    """Do the work and return the exit code; report a failure in one sentence.

    The process ends when its parent ends.
    """
    progress.follow_parent()
    try:
        work()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        progress.failed_with(error)
        if not isinstance(error, TextmillError):
            raise  # a mistake of ours: the log is to have the traceback
        return error.exit_code
    return 0


_STOP_WITHIN_S = 20


class StepFailed(TextmillError):
    """A child process failed; the message is its own sentence."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def run_child(
    command: Sequence[str],
    log: Path,
    environment: dict[str, str],
    verbose: bool = False,
    first: str = "",
    keep: Sequence[int] = (),
) -> dict[str, Any]:
    """Run work in a child process, show its progress, and return its outcome.

    Args:
        first: title of the step before its first report: imports, mostly.
        keep: further file descriptors to pass to the child.

    Raises:
        StepFailed: the child failed; the message is its sentence, or names its log.
        KeyboardInterrupt: Ctrl-C, after the child has ended.
    """
    child, events = start_child(command, log, environment, verbose, keep)
    try:
        with events, Display() as display:
            outcome, failure = _watch(events, first, display)
            code, peak = _ended(child)
            if failure is None and code == 0:
                display.finish()
            else:
                display.abandon()
    except BaseException:
        stop(child)
        raise
    if failure is not None:
        raise failed(failure, log)
    if code == -signal.SIGKILL:
        raise StepFailed(
            f"'{' '.join(command[1:4])}' was killed at a peak of {peak / 1e9:.1f} GB of memory, perhaps because memory ran out. "
            f"Run the same command again to resume; its log is {log}.",
            1,
        )
    if code:
        raise StepFailed(f"'{' '.join(command[1:4])}' ended with code {code}; its log is {log}.", 1)
    return outcome


def start_child(
    command: Sequence[str], log: Path, environment: dict[str, str], verbose: bool, keep: Sequence[int] = ()
) -> tuple[subprocess.Popen[bytes], TextIO]:
    """Start work in a child process; return it and its events, one JSON object per line."""
    reading, writing = os.pipe()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=None if verbose else output,
            stderr=None if verbose else output,
            env={**os.environ, **environment, "TEXTMILL_PROGRESS_FD": str(writing), "PYTHONUNBUFFERED": "1"},
            pass_fds=(writing, *keep),
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )
    os.close(writing)
    return child, os.fdopen(reading, encoding="utf-8")


def failed(event: dict[str, Any], log: Path) -> StepFailed:
    """The error for a child's `failed` event."""
    return StepFailed(f"{event['sentence']} (log: {log})", event["exit_code"])


def _ended(child: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Wait for a child's end; its code, and the bytes of memory that it had at its peak."""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _watch(events: TextIO, first: str, display: Display) -> tuple[dict[str, Any], dict[str, Any] | None]:
    outcome: dict[str, Any] = {}
    failure: dict[str, Any] | None = None
    shown: dict[str, Callable[[dict[str, Any]], None]] = {
        "plan": lambda event: display.plan.extend(event["steps"]),
        "step": lambda event: display.begin(event["name"]),
        "progress": lambda event: display.progress(event["done"], event["total"], event["text"]),
        "note": lambda event: say(f"    {event['text']}"),
        "result": lambda event: display.result(event["text"], event["mark"]),
        "outcome": lambda event: outcome.update(event["values"]),
    }
    if first:
        display.begin(first)
    for line in events:
        event = json.loads(line)
        if event["event"] == "failed":
            failure = event
        else:
            shown[event["event"]](event)
    return outcome, failure


def stop(child: subprocess.Popen[bytes]) -> None:
    """Stop a child and its process group: SIGINT, then SIGTERM, then SIGKILL."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        try:
            os.killpg(child.pid, number)
            child.wait(_STOP_WITHIN_S)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue
