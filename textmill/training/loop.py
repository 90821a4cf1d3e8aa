"""The training loop: from windows to the weights with the lowest held-out loss; resumable."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from textmill.console import progress
from textmill.gpt2 import weights
from textmill.ground.errors import UserError
from textmill.local_servers import run_names
from textmill.settings.training import Train
from textmill.training import checkpoints as training_checkpoints
from textmill.training.checkpoint_file import FROM_THE_START, Arrays
from textmill.training.checkpoints import Checkpoints
from textmill.training.dataset import Batches, held_out_batches
from textmill.training.log import Point, Samples, TrainingLog
from textmill.training.memory import estimate
from textmill.training.memory.devices import devices_of
from textmill.training.memory.optimiser_choice import optimiser_of
from textmill.training.record import Meter, Record
from textmill.training.samples import Sampler
from textmill.training.step import keras_model as gpt2
from textmill.training.step.training_step import TrainingStep, learning_rate
from textmill.training.task import Task

_POINT_EVERY = 10  # steps; a point costs a few hundred bytes
_HELD_OUT_BATCHES = 100  # at most, at each look at the held-out loss
_REPORT_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a training."""

    weights: weights.Weights  # the best by held-out loss, in Hugging Face's names and layouts
    history: tuple[Point, ...]
    best_step: int
    held_out_loss: float  # of the weights, nats per token
    first_held_out_loss: float  # before the first step
    steps: int
    tokens: int  # read while training, repetitions counted
    seconds: float  # of all its runs, from the first step to the last
    ended: str  # why after this step, in a few words
    batch: int  # windows in one pass: what was set, or what `auto` came to


def train(
    task: Task,
    checkpoints: Path,
    logs: Path,
    observe: Callable[[Point], None] = lambda _: None,
    show: Callable[[Samples], None] = lambda _: None,
) -> Trained:
    """Train, or resume a stopped run of the same task. On CPUs, resuming gives identical weights.

    Args:
        checkpoints: parent folder of each task's checkpoint folder.
        logs: folder for TensorBoard's files, `history.json` and `samples.txt`.
        observe: called with each point, those of earlier runs first.
        show: called with new sample texts.

    Raises:
        UserError: the text is too short, the base does not fit, memory or disk is too small, a checkpoint cannot be
        read, or the loss is not a number. The last good checkpoint stays.
    """
    try:
        with Checkpoints(checkpoints / task.key) as kept:
            record = Record.of(kept)
            task = replace(task, settings=_with_batch(task, kept, record))
            trained = _train(task, kept, record, logs, observe, show)
        training_checkpoints.prune(checkpoints, task.settings.keep_checkpoints)
        return trained
    except OSError as error:
        raise UserError(
            f"The training cannot write {error.filename or logs} ({error.strerror or error}); "
            "free disk space and run again to resume from the last checkpoint."
        ) from error


def _with_batch(task: Task, kept: Checkpoints, record: Record) -> Train:
    """The settings with a fixed batch size, which the record gets too. A resumed training uses its original one.

    Raises:
        UserError: the set batch, or for `auto` even the smallest one, does not fit into memory; or an older checkpoint's
        description, which alone has the batch, is damaged.
    """
    settings = task.settings
    chosen = record.batch if settings.batch == "auto" else settings.batch
    if not chosen and record.step:  # of an older checkpoint
        chosen = kept.described_batch()
    if not chosen:
        windows = max(1, len(task.tokens) // task.architecture.window)
        devices = devices_of(settings, task.architecture.layers)
        chosen = estimate.largest_batch(task.architecture, settings, windows, devices, task.base is not None)
        progress.note(f"batch: auto uses {chosen} windows of {task.architecture.window} tokens")
    record.batch = chosen
    settings = settings.model_copy(update={"batch": chosen})
    described = {"family": task.family, "batch": chosen, "model": asdict(task.architecture)}
    described |= {"train": task.settings.model_dump()}
    kept.describe(described)
    return settings


def _train(
    task: Task,
    kept: Checkpoints,
    record: Record,
    logs: Path,
    observe: Callable[[Point], None],
    show: Callable[[Samples], None],
) -> Trained:
    configuration = json.dumps({"model": asdict(task.architecture), "train": task.settings.model_dump()}, indent=1)
    with TrainingLog(logs, f"```\n{configuration}\n```", record.history, record.samples) as log:
        run_names.describe(logs, task.key, task.architecture.layers, task.architecture.width)
        for point in record.history:  # of former runs, the last of which may not have been seen
            observe(point)
        if not record.ended:
            devices = devices_of(task.settings, task.architecture.layers)
            needed = estimate.check(task.architecture, task.settings, devices, task.base is not None)
            progress.note(needed.sentence)
            progress.note(_plan(task))
            progress.report(record.step, task.settings.steps, "building and compiling the model")
            if _by_adamw(task):
                progress.note("optimiser: auto uses AdamW; Muon would more than double the step time")
            if where := _beginning(task, kept, record):
                progress.note(where)
            _Run(task, kept, record).finish(_Output(log, observe, show))
    best = kept.best()
    first = record.history[0].held_out_loss
    assert first is not None
    assert isinstance(task.settings.batch, int)
    return Trained(
        weights=best.tensors,
        history=tuple(record.history),
        best_step=best.values["step"],
        held_out_loss=best.values["held_out_loss"],
        first_held_out_loss=first,
        steps=record.step,
        tokens=record.step * task.settings.batch * task.settings.accumulate * task.architecture.window,
        seconds=record.seconds,
        ended=record.ended,
        batch=task.settings.batch,
    )


def _beginning(task: Task, kept: Checkpoints, record: Record) -> str:
    """Where the training begins; empty if at its start, with no other like it."""
    steps = task.settings.steps
    if record.step:
        return f"resuming from step {record.step} of {steps}"
    if finished := kept.finished_before(steps):
        return (
            f"starting anew for {steps} steps: the learning rate of the finished training of {finished} steps has "
            "fallen already; to continue from its weights, set model.base to that model"
        )
    return ""


def _plan(task: Task) -> str:
    """How much will be read, for the user to compare with the corpus."""
    settings = task.settings
    assert isinstance(settings.batch, int)
    read = settings.steps * settings.batch * settings.accumulate * task.architecture.window
    return (
        f"{settings.steps:,} steps of {settings.batch * settings.accumulate} windows of {task.architecture.window} tokens: "
        f"{read / len(task.tokens):.1f} passes over {len(task.tokens):,} tokens"
    )


def _by_adamw(task: Task) -> bool:
    """Whether `auto` means AdamW although all weights are trained."""
    settings = task.settings
    assert isinstance(settings.batch, int)
    chosen = optimiser_of(task.architecture, settings, settings.batch)
    return settings.optimiser == "auto" and chosen == "adamw" and not settings.lora_rank


@dataclass(frozen=True, slots=True)
class _Output:
    """The outputs for points and samples."""

    log: TrainingLog
    observe: Callable[[Point], None]
    show: Callable[[Samples], None]


class _Run:
    """A running training."""

    def __init__(self, task: Task, kept: Checkpoints, record: Record) -> None:
        settings = task.settings
        assert isinstance(settings.batch, int)
        self.task = task
        self.kept = kept
        self.record = record
        self.batch = settings.batch
        self.batches = Batches(
            task.tokens, settings.batch * settings.accumulate, task.architecture.window, settings.seed
        )
        self.stepper = _stepper(task)
        self.best_step, self.best_loss = 0, math.inf
        if record.state is not None:
            _restore(self.stepper, record.state, kept.kept)
            record.state = None  # it is as large as the model
            self.best_step, self.best_loss = kept.best_so_far(record.step)
        self.sampler = Sampler(self.stepper.next_logits, task.architecture.window, task.tokenizer)
        self.meter = Meter()
        self.compiled = False
        self.seconds_before = record.seconds
        # on the monotonic clock
        self.started = self.saved = time.monotonic()
        self.reported = 0.0

    def finish(self, out: _Output) -> None:
        """Run the remaining steps; stop early if the held-out loss stops improving."""
        settings, record = self.task.settings, self.record
        if not record.history:
            record.history.append(Point(0, self._judge()))
            out.log.add(record.history)
            out.observe(record.history[0])
        while not record.ended:
            self._take_step()
            last = record.step == settings.steps
            judging = last or record.step % settings.eval_every == 0
            if judging or record.step % _POINT_EVERY == 0:
                self._add_point(self._judge() if judging else None)
                out.log.add(record.history)
                out.observe(record.history[-1])
            record.ended = self._why_to_end() if judging else ""
            if record.ended or record.step % settings.sample_every == 0:
                record.samples.append(self._samples())
                out.log.add_samples(record.samples[-1])
                out.show(record.samples[-1])
            if record.ended or self._save_now():
                self._save()
            self._report()

    def _take_step(self) -> None:
        inputs, targets = self.batches.at(self.record.step)
        started = time.monotonic()
        loss, norm = self.stepper.train(self.record.step, inputs, targets)
        self._refuse_unless_finite(loss, norm)
        self.record.step += 1
        if self.compiled:
            self.meter.add(loss, norm, inputs.size, time.monotonic() - started)
        else:  # the first step's time says nothing of the speed
            self.meter.add(loss, norm, 0, 0)
        self.compiled = True

    def _refuse_unless_finite(self, *figures: float) -> None:
        if not all(map(math.isfinite, figures)):
            half = ", or set train.precision to bfloat16," if self.task.settings.precision == "float16" else ""
            kept = f" The last good checkpoint is {self.kept.kept}." if self.kept.kept.exists() else ""
            raise UserError(
                f"The loss is not a number at step {self.record.step + 1}; lower train.learning_rate{half} "
                f"and run again.{kept}"
            )

    def _judge(self) -> float:
        """Measure the held-out loss. If it is the lowest so far, save the weights."""
        task = self.task
        batches = held_out_batches(task.held_out, self.batch, task.architecture.window, _HELD_OUT_BATCHES)
        loss = self.stepper.held_out_loss(batches)
        self._refuse_unless_finite(loss)
        if loss < self.best_loss:
            self.best_step, self.best_loss = self.record.step, loss
            self.kept.save_best(self.stepper.weights(), self.record.step, loss)
        return loss

    def _why_to_end(self) -> str:
        """Why training stops after this evaluation of the held-out loss; empty if it continues."""
        settings, step = self.task.settings, self.record.step
        if step == settings.steps:
            return "all steps taken"
        looks = self.record.looks_since(self.best_step)
        if settings.patience and looks >= settings.patience:
            return f"stopped at step {step}: held-out loss did not improve in {looks} evaluation{'s' * (looks > 1)}"
        return ""

    def _add_point(self, held_out_loss: float | None) -> None:
        rate = learning_rate(self.task.settings, self.record.step - 1)
        self.record.history.append(self.meter.point(self.record.step, rate, held_out_loss))
        self.meter = Meter()

    def _samples(self) -> Samples:
        """A text on the first topic and one on a random other topic."""
        seed = self.task.settings.seed * 1_000_003 + self.record.step
        first, *others = self.task.topics
        topics = [first, *(others and [others[seed % len(others)]])]
        return Samples(self.record.step, self.sampler.write(topics, seed))

    def _save_now(self) -> bool:
        settings = self.task.settings
        on_step = settings.checkpoint_every and self.record.step % settings.checkpoint_every == 0
        return bool(on_step) or time.monotonic() - self.saved > settings.checkpoint_every_s

    def _save(self) -> None:
        """Write the last checkpoint. After the training, it has only the results."""
        self.record.seconds = self.seconds_before + time.monotonic() - self.started
        self.kept.save_last({} if self.record.ended else self.stepper.state(), self.record.values)
        self.saved = time.monotonic()

    def _report(self) -> None:
        record = self.record
        if not record.ended and time.monotonic() - self.reported < _REPORT_EVERY_S:
            return
        self.reported = time.monotonic()
        now = self.meter.point(record.step, 0, None) if self.meter.steps else record.history[-1]
        speed = f", {now.tokens_per_second:,.0f} tokens/s" if now.tokens_per_second else ""
        text = f"loss {now.loss:.2f}, held-out {record.held_out_loss:.2f}{speed}"
        progress.report(record.step, self.task.settings.steps, text)


def _restore(stepper: TrainingStep, state: Arrays, path: Path) -> None:
    try:
        stepper.restore(state)
    except (KeyError, ValueError) as error:  # the header of older files has no checksum
        raise UserError(f"The checkpoint {path} does not fit the model ({error!r}); {FROM_THE_START}.") from error


def _stepper(task: Task) -> TrainingStep:
    model = gpt2.build(task.architecture, task.settings.dropout, task.settings.seed)
    if task.base is not None:
        gpt2.load_weights(model, task.base)
    return TrainingStep(model, task.settings)
