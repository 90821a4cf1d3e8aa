"""Training a GPT-2: windows in, the weights that judge best on held-out text out; resumable at any step.

A training is fixed by its data, its first weights and its settings. Their hash names the folder of its checkpoints, so
that a run that was killed finds its own and goes on, and any other run does not.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from textmill import progress
from textmill.errors import UserError
from textmill.gpt2 import model as gpt2
from textmill.gpt2 import training_state, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.dataset import Batches, TokenStream, held_out_batches
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.training_log import Point, TrainingLog
from textmill.gpt2.training_samples import Sampler
from textmill.gpt2.training_step import TrainingStep, learning_rate
from textmill.settings import Train

LAST = "last.safetensors"
BEST = "best.safetensors"
_POINT_EVERY = 10  # steps; a point costs a few hundred bytes
_HELD_OUT_BATCHES = 100  # at most, at each look at the held-out loss
_REPORT_EVERY_S = 0.2
# these change what is kept and shown, not what is learned
_NOT_IN_KEY = {"checkpoint_dir", "checkpoint_every_s", "sample_every"}


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be learned, from where, and how."""

    architecture: Architecture
    settings: Train
    tokens: TokenStream
    held_out: TokenStream
    tokenizer: Tokenizer
    base: weights.Weights | None = None  # None: random weights
    topics: Sequence[str] = ("",)  # sample texts are written on the first one and on a random one
    code: str = ""  # a hash of the library: changed code starts afresh

    @property
    def key(self) -> str:
        """16 hex digits that are equal where everything that decides the result is."""
        facts = {
            "architecture": asdict(self.architecture),
            "settings": self.settings.model_dump(exclude=_NOT_IN_KEY),
            "tokens": self.tokens.digest,
            "held_out": self.held_out.digest,
            "base": _digest(self.base),
            "code": self.code,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to."""

    weights: weights.Weights  # the best by held-out loss, in Hugging Face's names and layouts
    history: tuple[Point, ...]
    best_step: int
    held_out_loss: float  # of the weights, nats per token
    first_held_out_loss: float  # before the first step
    steps: int
    tokens: int  # read while training, repetitions counted
    seconds: float  # of all its runs, from the first step to the last


def train(task: Task, checkpoints: Path, logs: Path, observe: Callable[[Point], None] = lambda _: None) -> Trained:
    """Train, or go on where a former run of the same task was stopped; on CPUs the weights are then the same.

    Args:
        checkpoints: folder in which each task's folder of checkpoints lies.
        logs: folder for TensorBoard's files, `history.json` and `samples.txt`.
        observe: is called with each point, for a live view elsewhere.

    Raises:
        UserError: the text is too short, the base does not fit, a checkpoint cannot be read or written, or the loss
            is no longer a number; the last good checkpoint is kept.
    """
    progress.report(0, task.settings.steps, "building and compiling the model")
    run = _Run(task, checkpoints / task.key)
    run.resume()
    configuration = json.dumps({"model": asdict(task.architecture), "train": task.settings.model_dump()}, indent=1)
    with TrainingLog(logs, f"```\n{configuration}\n```", run.history) as log:
        run.finish(log, observe)
    return run.result()


class _Meter:
    """Sums over the steps since a point."""

    def __init__(self) -> None:
        self.steps = self.tokens = 0
        self.loss = self.norm = self.seconds = 0.0

    def add(self, loss: float, norm: float, tokens: int, seconds: float) -> None:
        self.steps += 1
        self.loss += loss
        self.norm += norm
        self.tokens += tokens
        self.seconds += seconds

    def point(self, step: int, rate: float, held_out_loss: float | None) -> Point:
        speed = self.tokens / self.seconds if self.seconds else None
        return Point(step, held_out_loss, self.loss / self.steps, rate, self.norm / self.steps, speed)


class _Run:
    """A training under way."""

    def __init__(self, task: Task, folder: Path) -> None:
        settings = task.settings
        self.task = task
        self.folder = folder
        self.batches = Batches(task.tokens, settings.batch, task.architecture.window, settings.seed)
        self.model = gpt2.build(task.architecture, settings.dropout, settings.seed)
        if task.base is not None:
            gpt2.load_weights(self.model, task.base)
        self.stepper = TrainingStep(self.model, settings)
        self.sampler = Sampler(self.model, task.tokenizer)
        self.step = 0  # steps done
        self.history: list[Point] = []
        self.best_step, self.best_loss = 0, math.inf
        self.meter = _Meter()
        self.compiled = False
        self.seconds_before = 0.0
        # on the monotonic clock
        self.started = self.saved = time.monotonic()
        self.reported = 0.0

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one."""
        if not (self.folder / LAST).exists():
            (self.folder / BEST).unlink(missing_ok=True)  # of a run that ended before its first checkpoint
            return
        last = training_state.load(self.folder / LAST)
        best = training_state.load(self.folder / BEST, values_only=True).values
        self.stepper.restore(last.tensors)
        self.step, self.seconds_before = last.values["step"], last.values["seconds"]
        self.history = [Point(**each) for each in last.values["history"]]
        self.best_step, self.best_loss = best["step"], best["held_out_loss"]

    def finish(self, log: TrainingLog, observe: Callable[[Point], None]) -> None:
        """Take all steps that are left."""
        settings = self.task.settings
        if not self.history:
            self.history.append(Point(0, self._judge()))
            log.add(self.history)
        if self.step == settings.steps:  # a former run took the last step, but what came after it was lost
            log.add_samples(self.step, self._samples())
        while self.step < settings.steps:
            self._take_step()
            last = self.step == settings.steps
            judging = last or self.step % settings.eval_every == 0
            if judging or self.step % _POINT_EVERY == 0:
                self._add_point(self._judge() if judging else None)
                log.add(self.history)
                observe(self.history[-1])
            if last or self.step % settings.sample_every == 0:
                log.add_samples(self.step, self._samples())
            if last or time.monotonic() - self.saved > settings.checkpoint_every_s:
                self._save()
            self._report()

    def result(self) -> Trained:
        first = self.history[0].held_out_loss
        assert first is not None
        return Trained(
            weights=training_state.load(self.folder / BEST).tensors,
            history=tuple(self.history),
            best_step=self.best_step,
            held_out_loss=self.best_loss,
            first_held_out_loss=first,
            steps=self.step,
            tokens=self.step * self.task.settings.batch * self.task.architecture.window,
            seconds=self.seconds,
        )

    def _take_step(self) -> None:
        inputs, targets = self.batches.at(self.step)
        started = time.monotonic()
        loss, norm = self.stepper.train(self.step, inputs, targets)
        self._refuse_unless_finite(loss, norm)
        self.step += 1
        if self.compiled:
            self.meter.add(loss, norm, inputs.size, time.monotonic() - started)
        else:  # the first step's time says nothing of the speed
            self.meter.add(loss, norm, 0, 0)
        self.compiled = True

    def _refuse_unless_finite(self, *figures: float) -> None:
        if all(map(math.isfinite, figures)):
            return
        kept = self.folder / (LAST if (self.folder / LAST).exists() else BEST)
        raise UserError(
            f"The loss is no longer a number at step {self.step + 1}; make train.learning_rate smaller and run again. "
            f"The last good checkpoint is {kept}."
        )

    def _judge(self) -> float:
        """The held-out loss as the weights stand; the best weights so far are kept."""
        task = self.task
        batches = held_out_batches(task.held_out, task.settings.batch, task.architecture.window, _HELD_OUT_BATCHES)
        loss = self.stepper.held_out_loss(batches)
        self._refuse_unless_finite(loss)
        if loss < self.best_loss:
            self.best_step, self.best_loss = self.step, loss
            values = {"step": self.step, "held_out_loss": loss}
            training_state.save(self.folder / BEST, self.stepper.weights(), values)
        return loss

    def _add_point(self, held_out_loss: float | None) -> None:
        rate = learning_rate(self.task.settings, self.step - 1)
        self.history.append(self.meter.point(self.step, rate, held_out_loss))
        self.meter = _Meter()

    def _samples(self) -> list[str]:
        seed = self.task.settings.seed * 1_000_003 + self.step
        first, *others = self.task.topics
        return self.sampler.write([first, *(others and [others[seed % len(others)]])], seed)

    def _save(self) -> None:
        """Write the last checkpoint."""
        values = {"step": self.step, "seconds": self.seconds, "history": [asdict(each) for each in self.history]}
        training_state.save(self.folder / LAST, self.stepper.state(), values)
        self.saved = time.monotonic()

    def _report(self) -> None:
        last = self.step == self.task.settings.steps
        if not last and time.monotonic() - self.reported < _REPORT_EVERY_S:
            return
        self.reported = time.monotonic()
        now = self.meter.point(self.step, 0, None) if self.meter.steps else self.history[-1]
        held_out = next(each.held_out_loss for each in reversed(self.history) if each.held_out_loss is not None)
        speed = f", {now.tokens_per_second:,.0f} tokens/s" if now.tokens_per_second else ""
        progress.report(self.step, self.task.settings.steps, f"loss {now.loss:.2f}, held-out {held_out:.2f}{speed}")


def _digest(base: weights.Weights | None) -> str:
    digest = hashlib.sha256()
    for name, value in sorted((base or {}).items()):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
