import json
import math
import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from textmill.corpus import tfrecords
from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import Tokenizer, characters
from textmill.ground.errors import UserError
from textmill.settings.training import Train
from textmill.training import checkpoint_file
from textmill.training.checkpoints import BEST, LAST, PREVIOUS, Checkpoints
from textmill.training.dataset import TokenStream
from textmill.training.log import Point, Samples
from textmill.training.loop import Task, Trained, train
from textmill.training.step.training_step import learning_rate

TEXT = "Über the weir the water runs, and the wheel turns, and the stones grind the wheat to flour. " * 20
RECIPE = Train(
    steps=12,
    batch=4,
    learning_rate=1e-2,
    warmup_steps=2,
    eval_every=4,
    sample_every=6,
    dropout=0.1,
    average=0.5,
    checkpoint_every=1,
)


class Killed(Exception):
    """Stands for whatever ends a process between two steps."""


def stream_of(tokens: list[int], folder: Path) -> TokenStream:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "windows"
    file.write_bytes(tfrecords.frame(tfrecords.encode_example({"tokens": tokens})))
    return TokenStream.pack([file], 1000, folder)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return characters([TEXT])


@pytest.fixture(scope="module")
def task(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tokens")
    tokens = stream_of(tokenizer.encode(TEXT), folder / "train")
    held_out = stream_of(tokenizer.encode(TEXT[5:200]), folder / "eval")
    architecture = Architecture(tokenizer.vocabulary, window=16, layers=1, heads=2, width=32)
    return Task(architecture, RECIPE, tokens, held_out, tokenizer, topics=("Über",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def trained(task: Task, folder: Path) -> Trained:
    return train(task, folder / "checkpoints", folder / "logs")


def equal(left: weights.Weights, right: weights.Weights) -> bool:
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def test_the_loss_falls_and_the_best_weights_are_returned(task: Task, trained: Trained) -> None:
    looks = {point.step: point.held_out_loss for point in trained.history if point.held_out_loss is not None}
    assert list(looks) == [0, 4, 8, 12]
    assert trained.first_held_out_loss == looks[0] == pytest.approx(math.log(task.architecture.vocabulary), abs=0.1)
    assert trained.held_out_loss == min(looks.values()) < looks[0] - 0.3
    assert looks[trained.best_step] == trained.held_out_loss
    assert (trained.steps, trained.tokens) == (12, 12 * 4 * 16)
    assert equal(trained.weights, {name: trained.weights[name] for name in weights.shapes(task.architecture)})


def _killed_at_step_8(task: Task, folder: Path) -> None:
    """Train until something kills the run."""

    def kill(point: Point) -> None:
        if point.step == 8:
            raise Killed

    with pytest.raises(Killed):
        train(task, folder, folder / "first", kill)


def test_a_killed_run_goes_on_to_the_same_weights_while_another_trains(
    task: Task, trained: Trained, tmp_path: Path
) -> None:
    _killed_at_step_8(task, tmp_path)
    last = checkpoint_file.load(tmp_path / task.key / LAST, values_only=True)
    assert last.values["step"] == 7
    # changes nothing at such a rate, so it is no better at any look
    settings = RECIPE.model_copy(
        update={"learning_rate": 1e-30, "final_learning_rate": 0, "eval_every": 1, "patience": 2}
    )
    others: list[Trained] = []
    shown: list[Samples] = []

    def train_another(point: Point) -> None:
        if point.step == 10:
            others.append(train(replace(task, settings=settings), tmp_path, tmp_path / "other", show=shown.append))

    resumed = train(task, tmp_path, tmp_path / "second", train_another)
    assert equal(resumed.weights, trained.weights)
    assert resumed.history[-1].held_out_loss == trained.history[-1].held_out_loss
    rows = json.loads((tmp_path / "second" / "history.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in rows] == [0, 4, 8, 10, 12]
    samples = (tmp_path / "second" / "samples.txt").read_text(encoding="utf-8")
    assert samples.count("=== step 6\nÜber") == 1  # written before the kill
    (other,) = others
    assert (other.steps, other.best_step) == (2, 0)
    assert other.ended == "stopped at step 2: held-out loss did not improve in 2 evaluations"
    assert [each.step for each in shown] == [2]


def test_a_finished_run_is_not_repeated(task: Task, trained: Trained, folder: Path) -> None:
    seen: list[Point] = []
    again = train(task, folder / "checkpoints", folder / "again", seen.append)
    assert tuple(seen) == trained.history
    assert equal(again.weights, trained.weights)
    assert again.history == trained.history
    assert {path.name for path in (folder / "again").iterdir()} > {"history.json", "samples.txt"}
    for name in ("history.json", "samples.txt"):
        assert (folder / "again" / name).read_bytes() == (folder / "logs" / name).read_bytes()


def test_more_steps_after_a_finish_start_anew_and_say_so(
    task: Task, trained: Trained, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    monkeypatch.setenv("TEXTMILL_PROGRESS_FD", str(write))
    for settings in (RECIPE.model_copy(update={"steps": 13}), RECIPE.model_copy(update={"seed": 2, "steps": 1})):
        train(replace(task, settings=settings), folder / "checkpoints", folder / "more")
        os.set_blocking(read, False)
        said = os.read(read, 1 << 16).decode()
        assert ("starting anew for 13 steps" in said) == (settings.steps == 13)
        assert ("finished training of 12 steps" in said) == (settings.steps == 13)
    os.close(read)
    os.close(write)


def test_a_finished_run_keeps_its_best_weights_and_no_optimiser(task: Task, trained: Trained, folder: Path) -> None:
    kept = folder / "checkpoints" / task.key
    assert not checkpoint_file.load(kept / LAST).tensors
    assert equal(checkpoint_file.load(kept / BEST).tensors, trained.weights)


def test_the_logs_show_what_a_person_looks_for(trained: Trained, folder: Path) -> None:
    events = EventAccumulator(str(folder / "logs"))
    events.Reload()
    tags = {"loss", "held_out_loss", "learning_rate", "gradient_norm", "tokens_per_second"}
    assert tags | {"configuration", "sample/0"} <= set(events.Tags()["tensors"])
    assert [event.step for event in events.Tensors("held_out_loss")] == [0, 4, 8, 12]
    samples = (folder / "logs" / "samples.txt").read_text(encoding="utf-8")
    assert samples.count("=== step 6\nÜber\n\n") == samples.count("=== step 12\nÜber\n\n") == 1
    rows = json.loads((folder / "logs" / "history.json").read_text(encoding="utf-8"))
    assert rows[0].keys() == {"step", "held_out_loss"}
    assert rows[-1].keys() == {"step"} | tags


def test_a_task_is_known_by_what_decides_its_result(task: Task) -> None:
    def key(**changes: object) -> str:
        return replace(task, settings=RECIPE.model_copy(update=changes)).key

    assert (
        key(checkpoint_every_s=5, checkpoint_dir="/elsewhere", sample_every=3, keep_checkpoints=1, memory=4.0)
        == task.key
    )
    assert len({task.key, key(learning_rate=0.1), key(seed=2), key(steps=13)}) == 4
    assert replace(task, base=weights.initial(task.architecture)).key != task.key
    assert replace(task, tokens=task.held_out).key != task.key
    longer = replace(task, settings=RECIPE.model_copy(update={"steps": 24, "eval_every": 8}))
    assert longer.family == task.family != replace(task, tokens=task.held_out).family


def test_training_goes_on_from_a_base(task: Task, trained: Trained, tmp_path: Path) -> None:
    settings = RECIPE.model_copy(update={"steps": 1, "learning_rate": 1e-9})
    further = train(replace(task, settings=settings, base=trained.weights), tmp_path, tmp_path / "logs")
    assert further.first_held_out_loss == trained.held_out_loss


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(task: Task, tmp_path: Path) -> None:
    # after two steps at such a rate no product is a number any more
    settings = RECIPE.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0})
    wild = replace(task, settings=settings)
    with pytest.raises(UserError, match=r"not a number at step 2; .*train\.learning_rate") as raised:
        train(wild, tmp_path, tmp_path / "logs")
    kept = tmp_path / wild.key / LAST
    assert str(kept) in str(raised.value)
    checkpoint = checkpoint_file.load(kept)
    assert checkpoint.values["step"] == 1
    assert all(np.isfinite(value).all() for value in checkpoint.tensors.values())


def test_the_learning_rate_rises_and_falls_along_a_cosine() -> None:
    settings = Train(steps=111, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.2)
    rates = [learning_rate(settings, step) for step in range(111)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[10] == 1
    assert rates[60] == pytest.approx(0.6)
    assert rates[110] == pytest.approx(0.2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(Train(steps=1, warmup_steps=0, learning_rate=0.5), 0) == 0.5


def test_the_learning_rate_stays_and_then_falls_linearly() -> None:
    settings = Train(steps=101, warmup_steps=10, learning_rate=1.0, schedule="linear", decay_from=40 / 101)
    rates = [learning_rate(settings, step) for step in range(101)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert set(rates[10:41]) == {1}
    assert rates[70] == pytest.approx((1 + 0.02) / 2)
    assert rates[100] == pytest.approx(0.02)
    to_zero = settings.model_copy(update={"final_learning_rate": 0, "warmup_steps": 80})
    assert [learning_rate(to_zero, step) for step in (80, 90, 100)] == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [2, 3, 10, 600])
def test_the_last_step_has_the_final_learning_rate(schedule: str, steps: int) -> None:
    for decay_from in (0, 0.35, 0.99):
        settings = Train(steps=steps, warmup_steps=1, schedule=schedule, decay_from=decay_from, final_learning_rate=0)  # type: ignore[arg-type]
        assert learning_rate(settings, steps - 1) == 0
        assert learning_rate(settings, 0) == 1e-3


def test_a_checkpoint_that_cannot_be_written_leaves_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoint_file.save(path, {"a": np.ones((2, 3), np.float32).T}, {"step": 1})
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, former[1]))  # as a full disk would
    try:
        with pytest.raises(UserError, match="cannot be written"):
            checkpoint_file.save(path, {"a": np.ones(10_000, np.float32)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    read = checkpoint_file.load(path)
    assert read.values == {"step": 1}
    assert (read.tensors["a"] == np.ones((3, 2))).all()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_training_whose_disk_is_full_goes_on_from_the_former_checkpoint(
    task: Task, trained: Trained, tmp_path: Path
) -> None:
    former = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(point: Point) -> None:
        if point.step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, former[1]))

    try:
        with pytest.raises(UserError, match=f"{LAST} cannot be written"):
            train(task, tmp_path, tmp_path / "first", fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    kept = tmp_path / task.key
    assert checkpoint_file.load(kept / LAST).values["step"] == 3
    assert {path.name for path in kept.iterdir()} == {BEST, LAST, PREVIOUS, "lock", "task.json"}
    assert equal(train(task, tmp_path, tmp_path / "second").weights, trained.weights)


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one_and_tells_of_damaged_best_weights_at_once(
    task: Task, trained: Trained, tmp_path: Path
) -> None:
    _killed_at_step_8(task, tmp_path)
    kept = tmp_path / task.key
    for name in (LAST, BEST):
        whole = (kept / name).read_bytes()
        (kept / name).write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
    (kept / "task.json").write_text("{", encoding="utf-8")  # read for older checkpoints alone

    with pytest.raises(UserError, match=f"{BEST} cannot be read .*; delete this file to choose the best weights from"):
        train(task, tmp_path, tmp_path / "second")
    assert checkpoint_file.load(kept / LAST, values_only=True).values["step"] == 6
    (kept / BEST).unlink()
    resumed = train(task, tmp_path, tmp_path / "third")
    assert resumed.history[-1].held_out_loss == trained.history[-1].held_out_loss
    assert resumed.best_step in (8, 12)
    assert json.loads((kept / "task.json").read_text(encoding="utf-8"))["batch"] == 4


HALF = RECIPE.model_copy(update={"batch": "auto", "steps": 1, "accumulate": 2, "memory": 0.001, "precision": "float16"})


def test_batch_auto_is_chosen_once_for_a_training(task: Task, tmp_path: Path) -> None:
    settings = HALF
    chosen = train(replace(task, settings=settings), tmp_path, tmp_path / "logs")
    assert 1 < chosen.batch < 64
    assert chosen.tokens == 2 * chosen.batch * 16
    elsewhere = replace(task, settings=settings.model_copy(update={"memory": 100.0}))
    assert train(elsewhere, tmp_path, tmp_path / "again").batch == chosen.batch


def test_a_float16_step_that_overflows_is_no_reason_to_end(task: Task, tmp_path: Path) -> None:
    base = weights.initial(task.architecture)
    base["transformer.wte.weight"] *= 40_000  # so large that gradients, when they are scaled, are beyond float16
    trained = train(replace(task, settings=HALF, base=base), tmp_path, tmp_path / "logs")
    assert trained.ended == "all steps taken"
    assert (trained.history[-1].gradient_norm, math.isfinite(trained.held_out_loss)) == (0, True)
    assert equal(trained.weights, base)


def test_a_training_that_does_not_fit_is_refused_before_it_starts(task: Task, tmp_path: Path) -> None:
    settings = RECIPE.model_copy(update={"memory": 0.00035, "optimiser": "adamw", "average": 0})
    with pytest.raises(UserError, match=r"to fit, set train\.batch: 1 and train\.accumulate: 4"):
        train(replace(task, settings=settings), tmp_path, tmp_path / "logs")


def test_the_same_training_runs_once_at_a_time(task: Task, tmp_path: Path) -> None:
    with Checkpoints(tmp_path / task.key), pytest.raises(UserError, match="already running"):
        train(task, tmp_path, tmp_path / "logs")


def test_a_text_shorter_than_a_window_is_refused(task: Task, tmp_path: Path) -> None:
    short = replace(task, tokens=stream_of([1] * 16, tmp_path / "short"))
    with pytest.raises(UserError, match="16 tokens, too few for a window of 16"):
        train(short, tmp_path, tmp_path / "logs")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoint_file.save(path, {"a": np.ones(100, np.float32)}, {})
    whole = path.read_bytes()
    truncated, altered, absent = (tmp_path / name for name in ("truncated", "altered", "absent"))
    truncated.write_bytes(whole[:-7])
    altered.write_bytes(whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:])
    for damaged in (truncated, altered, absent):
        with pytest.raises(UserError, match=f"{damaged} cannot be read .* delete its folder"):
            checkpoint_file.load(damaged)
