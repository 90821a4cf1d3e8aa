"""Training a GPT-2: windows in, the weights that judge best on held-out text out; resumable at any step.

A training is fixed by its data, its first weights and its settings. Their hash names the folder of its checkpoints, so
that a run that was killed finds its own and goes on, and any other run does not.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from textmill import progress
from textmill.config import Train
from textmill.errors import UserError
from textmill.gpt2 import model as gpt2
from textmill.gpt2 import training_state, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.dataset import Batches, TokenStream, held_out_batches
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.training_log import Point, TrainingLog
from textmill.gpt2.training_samples import Sampler
from textmill.gpt2.training_step import TrainingStep, learning_rate

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

    @property
    def key(self) -> str:
        """16 hex digits that are equal where everything that decides the result is."""
        facts = {
            "architecture": asdict(self.architecture),
            "settings": self.settings.model_dump(exclude=_NOT_IN_KEY),
            "tokens": self.tokens.digest,
            "held_out": self.held_out.digest,
            "base": _digest(self.base),
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


def train(task: Task, checkpoints: Path, logs: Path, observe: Callable[[Point], None] | None = None) -> Trained:
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


class _Run:
    """A training under way."""

    def __init__(self, task: Task, folder: Path) -> None:
        settings = task.settings
        self.task = task
        self.folder = folder
        self.batches = Batches(task.tokens, settings.batch, task.architecture.window, settings.seed)
        model = gpt2.build(task.architecture, settings.dropout, settings.seed)
        if task.base is not None:
            gpt2.load_weights(model, task.base)
        self.model = model
        self.stepper = TrainingStep(model, settings)
        self.sampler = Sampler(model, task.tokenizer)
        self.step = 0  # steps done
        self.history: list[Point] = []
        self.best_step, self.best_loss = 0, math.inf
        self.since_point = _Since()
        self.started, self.seconds_before = time.monotonic(), 0.0
        self.reported = self.saved = 0.0  # when, on the monotonic clock

    # --- checkpoints

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one."""
        if not (self.folder / LAST).exists():
            (self.folder / BEST).unlink(missing_ok=True)  # of a run that ended before its first checkpoint
            return
        last = training_state.load(self.folder / LAST)
        for kind, variables in self._variables().items():
            for path, variable in variables.items():
                variable.assign(last.tensors[f"{kind}/{path}"])
        best = training_state.load(self.folder / BEST).values
        self.step, self.seconds_before = last.values["step"], last.values["seconds"]
        self.history = [Point(**each) for each in last.values["history"]]
        self.best_step, self.best_loss = best["step"], best["held_out_loss"]

    def save(self) -> None:
        """Write the last checkpoint."""
        tensors = {
            f"{kind}/{path}": variable.numpy()
            for kind, variables in self._variables().items()
            for path, variable in variables.items()
        }
        values = {"step": self.step, "seconds": self.seconds, "history": [asdict(each) for each in self.history]}
        training_state.save(self.folder / LAST, tensors, values)
        self.saved = time.monotonic()

    def _variables(self) -> dict[str, Mapping[str, gpt2.Tensor]]:
        stepper = self.stepper
        return {"weight": stepper.variables, "moment_1": stepper.moments_1, "moment_2": stepper.moments_2}

    # --- the loop

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def finish(self, log: TrainingLog, observe: Callable[[Point], None] | None) -> None:
        """Take all steps that are left."""
        settings = self.task.settings
        if self.step == 0:
            self._judge()
        self.started = self.saved = time.monotonic()
        while self.step < settings.steps:
            self._take_step()
            last = self.step == settings.steps
            judged = self._judge() if last or self.step % settings.eval_every == 0 else None
            if judged is not None or self.step % _POINT_EVERY == 0:
                point = self._point(judged)
                log.add(point)
                if observe:
                    observe(point)
            if last or self.step % settings.sample_every == 0:
                log.add_samples(self.step, self._samples())
            if last or time.monotonic() - self.saved > settings.checkpoint_every_s:
                self.save()
            self._report(last)

    def _take_step(self) -> None:
        inputs, targets = self.batches.at(self.step)
        started = time.monotonic()
        loss, norm = self.stepper.train(self.step, inputs, targets)
        self._refuse_unless_finite(loss, norm)
        self.step += 1
        self.since_point.add(loss, norm, inputs.size, time.monotonic() - started)

    def _refuse_unless_finite(self, *figures: float) -> None:
        if all(map(math.isfinite, figures)):
            return
        kept = self.folder / LAST if (self.folder / LAST).exists() else self.folder / BEST
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
            training_state.save(self.folder / BEST, gpt2.weights_of(self.model), values)
        if self.step == 0:
            self.history.append(Point(0, loss, 0, 0, 0, loss))
        return loss

    def _point(self, held_out_loss: float | None) -> Point:
        since, self.since_point = self.since_point, _Since()
        rate = learning_rate(self.task.settings, self.step - 1)
        point = Point(self.step, since.loss, rate, since.norm, since.tokens_per_second, held_out_loss)
        self.history.append(point)
        return point

    def _samples(self) -> list[str]:
        seed = self.task.settings.seed * 1_000_003 + self.step
        first, *others = self.task.topics
        chosen = [first, *(others and [others[seed % len(others)]])]
        return self.sampler.write(chosen, seed)

    def _report(self, last: bool) -> None:
        if not last and time.monotonic() - self.reported < _REPORT_EVERY_S:
            return
        self.reported = time.monotonic()
        since = self.since_point
        ...
