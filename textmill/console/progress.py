"""Report progress from a child process to the command that started it.

Scrapy, TFX and TensorFlow print hundreds of lines, so their work runs in a child process whose output goes to a log
file. Progress goes over the file descriptor in TEXTMILL_PROGRESS_FD, one JSON object per line; without that variable,
nothing is reported. `textmill.console.child_process` reads it.
"""

import ctypes
import json
import os
import re
import select
import signal
import sys
from typing import Any

from textmill.ground.errors import TextmillError, UserError

_VARIABLE = "TEXTMILL_PROGRESS_FD"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def send(**event: Any) -> None:
    """Send one event to the parent process, if it listens."""
    descriptor = os.environ.get(_VARIABLE)
    if descriptor is None:
        return
    try:
        # one write under PIPE_BUF bytes is atomic, so threads need no lock
        os.write(int(descriptor), (json.dumps(event) + "\n").encode())
    except OSError:  # the watcher has gone, or this is a grandchild that was not given the descriptor
        os.environ.pop(_VARIABLE, None)


def step(name: str) -> None:
    """Begin a step; the step before it has succeeded."""
    send(event="step", name=name)


def report(done: float, total: float, text: str = "") -> None:
    """Report progress of the current step; `text` is one or two short figures, such as the loss."""
    send(event="progress", done=done, total=total, text=text)


def note(text: str) -> None:
    """Print a line at once, in addition to the progress of the current step."""
    send(event="note", text=text)


def result(text: str, mark: str = "") -> None:
    """Report the result of the current step, in one line.

    Args:
        mark: `refused` or `undecided` if this is the step's verdict on a model; the line then has no tick.
    """
    send(event="result", text=text, mark=mark)


def outcome(**values: Any) -> None:
    """Return values to the parent process."""
    send(event="outcome", values=values)


def failed(sentence: str, exit_code: int) -> None:
    """Report a failure: its sentence and the command's exit code."""
    send(event="failed", sentence=sentence, exit_code=exit_code)


def failed_with(error: BaseException) -> None:
    """Report an error: the sentence of the TextmillError that caused it, or else its last line."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, TextmillError):
        cause = cause.__cause__ or cause.__context__
    # Beam hands on an error of its workers as text, the traceback and all; the last line says what it was
    last = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "")
    said = re.search(r"textmill\.ground\.errors\.UserError: (.*?)(?: \[while running .*)?$", last)
    if isinstance(cause, TextmillError):
        failed(str(cause), cause.exit_code)
    elif said:
        failed(said[1], UserError.exit_code)
    else:
        failed(f"Internal error in Textmill: {type(error).__name__}: {last}", 1)


def be_silent() -> None:
    """Turn reports off, in a process whose environment names a descriptor that it was not given."""
    os.environ.pop(_VARIABLE, None)


def follow_parent() -> None:
    """End this process when its parent dies (Linux only)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if _VARIABLE in os.environ:
        watched = select.poll()
        watched.register(int(os.environ[_VARIABLE]), 0)
        if watched.poll(0):  # it died while this process was still importing: nobody reads the pipe
            sys.exit(0)
