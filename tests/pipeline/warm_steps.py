"""Run the containers' commands: each in a process of its own, or one after another in a process that has loaded TFX once.

Loading TFX takes most of a small step's time. As a program this is the second kind: `python warm_steps.py` reads commands
from its standard input and answers each with its exit code.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]  # what the image holds
ENTRYPOINT = ["python", "-m", "pipeline.entrypoint"]


@dataclass(frozen=True)
class Command:
    """A container's command line, and what surrounds it."""

    line: list[str]
    variables: dict[str, str]
    pod: Path  # the folder that is the container's root, as far as one process can have one
    log: Path  # gets standard output and errors

    def environment(self) -> dict[str, str]:
        """All that stands in the container's environment."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        places = {"PATH": path, "PYTHONPATH": str(SOURCE), "HOME": str(self.pod), "TEXTMILL_MOUNTS": str(self.pod)}
        return places | self.variables


def run_in_own_process(command: Command) -> int:
    """Run a command as it stands; return its exit code."""
    with started(command) as process:
        return process.wait(900)


@contextmanager
def started(command: Command) -> Iterator["subprocess.Popen[bytes]"]:
    """A command under way; it ends with the block at the latest."""
    with command.log.open("wb") as log:
        process = subprocess.Popen(command.line, cwd=command.pod, env=command.environment(), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def warm_process() -> Iterator[Callable[[Command], int]]:
    """A process that runs commands of the entrypoint and keeps what it has imported."""
    given = subprocess.Popen(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert given.stdin and given.stdout

    def execute(command: Command) -> int:
        assert given.stdin and given.stdout and command.line[:3] == ENTRYPOINT
        told = {"environment": command.environment()} | asdict(command)
        print(json.dumps(told, default=str), file=given.stdin, flush=True)
        return int(given.stdout.readline() or "1")

    try:
        yield execute
        given.stdin.close()
        assert given.wait(60) == 0
    finally:
        given.kill()
        given.wait()


def _serve() -> None:
    """Run the commands on standard input; what they print goes to their logs alone."""
    from pipeline import entrypoint

    answers, own_errors = os.fdopen(os.dup(1), "w"), os.dup(2)
    for told in map(json.loads, sys.stdin):
        os.environ.clear()
        os.environ.update(told["environment"])
        os.chdir(told["pod"])
        with Path(told["log"]).open("wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        sys.argv = told["line"][2:]
        try:
            code = entrypoint.main()
        finally:
            sys.stdout.flush()
            os.dup2(own_errors, 2)
        print(code, file=answers, flush=True)


if __name__ == "__main__":
    _serve()
