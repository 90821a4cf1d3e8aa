"""What a long piece of work tells the person who waits for it.

Work that prints hundreds of lines of its own (Scrapy, TFX, TensorFlow) runs in a child process whose output goes to
a log file. What a person should see travels beside it, one JSON object a line, over the file descriptor named by
TEXTMILL_PROGRESS_FD; without one, reports go nowhere. `textmill.console.output` shows them.
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
    """Send one event to whoever watches this process, if anyone does."""
    descriptor = os.environ.get(_VARIABLE)
    if descriptor is None:
        return
    try:
        # one write under PIPE_BUF bytes is atomic, so threads need no lock
        os.write(int(descriptor), (json.dumps(event) + "\n").encode())
    except OSError:  # the watcher has gone, or this is a grandchild that was not given the descriptor
        os.environ.pop(_VARIABLE, None)


def step(name: str) -> None:
    """A new step has begun; the one before it, if any, has ended well."""
    send(event="step", name=name)


def report(done: float, total: float, text: str = "") -> None:
    """So much of the present step is done; `text` is a short figure or two, such as the loss."""
    send(event="progress", done=done, total=total, text=text)


def note(text: str) -> None:
    """A line for the person at once, beside the progress of the present step."""
    send(event="note", text=text)


def result(text: str) -> None:
    """What the present step came to, in one line."""
    send(event="result", text=text)


def outcome(**values: Any) -> None:
    """Values that the whole work hands back to the process that watches."""
    send(event="outcome", values=values)


def failed(sentence: str, exit_code: int) -> None:
    """The work has failed: the sentence for the person, and what the command shall exit with."""
    send(event="failed", sentence=sentence, exit_code=exit_code)


def failed_with(error: BaseException) -> None:
    """Report a failure: the sentence of the TextmillError that caused it, or else the error's own last words."""
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
        failed(f"It failed inside Textmill: {type(error).__name__}: {last}", 1)


def be_silent() -> None:
    """Report nothing: a process that was not given the descriptor, though its environment names one."""
    os.environ.pop(_VARIABLE, None)


def follow_parent() -> None:
    """End this process when the one that started it dies, so that nothing is left running unseen (Linux only)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if _VARIABLE in os.environ:
        watched = select.poll()
        watched.register(int(os.environ[_VARIABLE]), 0)
        if watched.poll(0):  # it died while this process was still importing: nobody reads the pipe
            sys.exit(0)
