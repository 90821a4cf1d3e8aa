"""A contestant: a process that works when it is told to and says how long that took.

This file needs nothing but numpy, because each contestant runs in an environment of its own.
"""

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print goes elsewhere


def arguments() -> dict[str, Any]:
    """What the benchmark asks this contestant to be."""
    return json.loads(sys.argv[1])


def serve(commands: Mapping[str, Callable[..., Any]]) -> None:
    """Answer each line of standard input, a JSON object, by one of standard output, until the input ends."""
    print(json.dumps(None), file=_answers, flush=True)  # ready
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(commands[request.pop("do")](**request)), file=_answers, flush=True)


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class Text:
    """Training and held-out tokens, and the same batches of them for every contestant."""

    def __init__(self, batch: int, window: int, seed: int, vocabulary: int, path: str | None = None) -> None:
        """Take a text's characters, split 90 to 10 as nanoGPT does; without a text, random tokens."""
        self.batch, self.window = batch, window
        self._seed = seed
        self._generator = np.random.default_rng(seed)
        if path is None:
            tokens = self._generator.integers(0, vocabulary, 100_000, dtype=np.int32)
        else:
            text = Path(path).read_text(encoding="utf-8")
            numbers = {character: number for number, character in enumerate(sorted(set(text)))}
            tokens = np.array([numbers[character] for character in text], np.int32)
        self.train, self.held_out = np.split(tokens, [int(0.9 * len(tokens))])

    def next(self) -> tuple[Tokens, Tokens]:
        """The next training batch: windows that begin anywhere, and the tokens that follow."""
        return self._windows(self.train, self._generator.integers(0, len(self.train) - self.window, self.batch))

    def sampled(self, batches: int = 20) -> Iterator[tuple[Tokens, Tokens]]:
        """Held-out windows that begin anywhere, as nanoGPT's estimate takes them."""
        generator = np.random.default_rng(self._seed + 1)
        for _ in range(batches):
            starts = generator.integers(0, len(self.held_out) - self.window, self.batch)
            yield self._windows(self.held_out, starts)

    def whole(self, batch: int = 12) -> Iterator[tuple[Tokens, Tokens]]:
        """All held-out windows side by side, but for those that fill no batch."""
        starts = np.arange(0, len(self.held_out) - self.window, self.window)
        for first in range(0, len(starts) - batch + 1, batch):
            yield self._windows(self.held_out, starts[first : first + batch])

    def _windows(self, tokens: Tokens, starts: NDArray[np.int64]) -> tuple[Tokens, Tokens]:
        rows = tokens[starts[:, None] + np.arange(self.window + 1)]
        return np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])


class Trainer(ABC):
    """Steps over a text, counted and timed; a subclass says how to begin, how to take one and how to judge."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked
        self.again()

    def again(self, train: dict[str, Any] | None = None) -> None:
        """Begin a new training, with these settings instead of the former ones."""
        self._asked["train"].update(train or {})
        self.text = Text(**self._asked["text"])
        self._next_step = 0
        self.begin(self._asked["model"], self._asked["train"])

    @abstractmethod
    def begin(self, model: dict[str, Any], train: dict[str, Any]) -> None:
        """Make a new model with a new optimiser."""

    @abstractmethod
    def step(self, number: int, inputs: Tokens, targets: Tokens) -> float:
        """Take a step, counted from 0, and return its loss."""

    def loss(self, batches: Iterator[tuple[Tokens, Tokens]]) -> float:
        """Nats per token over batches, of those that are compared by it."""
        raise SystemExit(f"{type(self).__name__} is not judged by held-out text.")

    def run(self, steps: int) -> dict[str, Any]:
        """Take steps; the batches are made within the time, as in a real training."""
        start = time.perf_counter()
        losses = [self.step(self._next_step + number, *self.text.next()) for number in range(steps)]
        seconds = time.perf_counter() - start
        self._next_step += steps
        return {"seconds": seconds, "losses": losses}

    def serve(self, **others: Callable[..., Any]) -> None:
        """Answer the benchmark's requests."""
        commands = {
            "again": self.again,
            "run": self.run,
            "memory": peak_memory,
            "sampled": lambda: self.loss(self.text.sampled()),
            "whole": lambda: self.loss(self.text.whole()),
        }
        serve({**commands, **others})
