"""Contestants side by side: one process each, taking turns, so that a busy machine slows all of them alike."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".venv-peers/bin/python"  # torch and transformers live there; `make peers` makes it


class Contestant:
    """A process that runs one of the `*_steps.py`; close it, or use it as a context manager."""

    def __init__(self, name: str, program: str, python: Path | str = sys.executable, **asked: Any) -> None:
        """Start it and wait until it is ready; `asked` is what it is to be."""
        self.name = name
        path = [f"{HERE.parent}", *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(path)}
        self._process = subprocess.Popen(
            [python, HERE / program, json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._answer()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have it do something and wait for the answer."""
        assert self._process.stdin
        print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}; what it said stands above.")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def take_turns(contestants: Sequence[Contestant], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds per step of each contestant in each round; the order turns round, so that none is always first."""
    seconds: dict[str, list[float]] = {each.name: [] for each in contestants}
    for number in range(rounds):
        turn = number % len(contestants)
        for each in [*contestants[turn:], *contestants[:turn]]:
            seconds[each.name].append(each.ask("run", steps=steps)["seconds"] / steps)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], ours: str, peer: str) -> float:
    """How many times as fast ours is: the median over rounds of the peer's time by ours."""
    return statistics.median(b / a for a, b in zip(seconds[ours], seconds[peer], strict=True))


def report(rows: Sequence[Mapping[str, str]]) -> None:
    """Print a table in Markdown."""
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(row[name] for name in names) + " |")
    print(flush=True)


def milliseconds(seconds: Sequence[float]) -> str:
    """A median with the least and the most."""
    low, middle, high = (1000 * each for each in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:,.1f} ({low:,.1f} to {high:,.1f})"


def machine() -> str:
    """What the figures were measured on."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.split(":")[1].strip() for line in cpu.splitlines() if line.startswith("model name")), "CPU")
    found = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    versions = ", ".join(
        f"{name} {found[name]}" for name in ("tensorflow", "keras", "gpt-2-simple", "jax") if name in found
    )
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores; Python {platform.python_version()}, {versions}; load average at the start {load}"


def need(path: Path, cure: str) -> Path:
    """The path, if something is there."""
    if not path.exists():
        raise SystemExit(f"There is nothing at {path}; {cure}")
    return path
