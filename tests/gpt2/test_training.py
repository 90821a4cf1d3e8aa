import json
import math
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from textmill import records
from textmill.errors import UserError
from textmill.gpt2 import training, training_state, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.dataset import TokenStream
from textmill.gpt2.tokenizer import Tokenizer, characters
from textmill.gpt2.training import Point, Task, Trained, train
from textmill.gpt2.training_step import learning_rate
from textmill.settings import Train

TEXT = "Über the weir the water runs, and the wheel turns, and the stones grind the wheat to flour. " * 20
RECIPE = Train(
    steps=12,
    batch=4,
    learning_rate=1e-2,
    warmup_steps=2,
    eval_every=4,
    sample_every=6,
    dropout=0.1,
    checkpoint_every_s=1e-9,  # after every step
)


class Killed(Exception):
    """Stands for whatever ends a process between two steps."""


def stream_of(tokens: list[int], folder: Path) -> TokenStream:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "windows"
    file.write_bytes(records.frame(records.encode_example({"tokens": tokens})))
    return TokenStream.pack([file], 1000, folder)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return characters([TEXT])


@pytest.fixture(scope="module")
def task(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("tokens")
    tokens = stream_of(tokenizer.encode(TEXT), folder / "train")
    held_out = stream_of(tokenizer.encode(TEXT[5:200]), folder / "eval")
    architecture = Architecture(tokenizer.vocabulary, window=16, layers=2, heads=2, width=32)
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


def test_a_killed_run_goes_on_to_the_same_weights(task: Task, trained: Trained, tmp_path: Path) -> None:
    def kill(point: Point) -> None:
        if point.step == 8:
            raise Killed

    with pytest.raises(Killed):
        train(task, tmp_path, tmp_path / "first", kill)
    last = training_state.load(tmp_path / task.key / training.LAST, values_only=True)
    assert last.values["step"] == 7
    resumed = train(task, tmp_path, tmp_path / "second")
    assert equal(resumed.weights, trained.weights)
    assert resumed.history[-1].held_out_loss == trained.history[-1].held_out_loss
    rows = json.loads((tmp_path / "second" / "history.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in rows] == [0, 4, 8, 10, 12]


def test_a_finished_run_is_not_repeated(task: Task, trained: Trained, folder: Path) -> None:
    seen: list[Point] = []
    again = train(task, folder / "checkpoints", folder / "again", seen.append)
    assert not seen
    assert equal(again.weights, trained.weights)
    assert again.history == trained.history
    assert {path.name for path in (folder / "again").iterdir()} > {"history.json", "samples.txt"}


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

    assert key(checkpoint_every_s=5, checkpoint_dir="/elsewhere", sample_every=3) == task.key
    assert len({task.key, key(learning_rate=0.1), key(seed=2), key(steps=13)}) == 4
    assert replace(task, base=weights.initial(task.architecture)).key != task.key
    assert replace(task, tokens=task.held_out).key != task.key


def test_training_goes_on_from_a_base(task: Task, trained: Trained, tmp_path: Path) -> None:
    settings = RECIPE.model_copy(update={"steps": 1, "learning_rate": 1e-9})
    further = train(replace(task, settings=settings, base=trained.weights), tmp_path, tmp_path / "logs")
    assert further.first_held_out_loss == trained.held_out_loss


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(task: Task, tmp_path: Path) -> None:
    # after two steps at such a rate no product is a number any more
    settings = RECIPE.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0})
    wild = replace(task, settings=settings)
    with pytest.raises(UserError, match=r"no longer a number at step 2; .*train\.learning_rate") as raised:
        train(wild, tmp_path, tmp_path / "logs")
    kept = tmp_path / wild.key / training.LAST
    assert str(kept) in str(raised.value)
    checkpoint = training_state.load(kept)
    assert checkpoint.values["step"] == 1
    assert all(np.isfinite(value).all() for value in checkpoint.tensors.values())


def test_the_learning_rate_rises_and_falls_along_a_cosine() -> None:
    settings = Train(steps=110, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.2)
    rates = [learning_rate(settings, step) for step in range(111)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[10] == 1
    assert rates[60] == pytest.approx(0.6)
    assert rates[110] == pytest.approx(0.2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(Train(steps=1, warmup_steps=0, learning_rate=0.5), 0) == 0.5


def test_a_checkpoint_that_cannot_be_written_leaves_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    training_state.save(path, {"a": np.ones((2, 3), np.float32).T}, {"step": 1})
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, former[1]))  # as a full disk would
    try:
        with pytest.raises(UserError, match="cannot be written"):
            training_state.save(path, {"a": np.ones(10_000, np.float32)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    read = training_state.load(path)
    assert read.values == {"step": 1}
    assert (read.tensors["a"] == np.ones((3, 2))).all()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    training_state.save(path, {"a": np.ones(100, np.float32)}, {})
    path.write_bytes(path.read_bytes()[:-7])
    for damaged in (path, tmp_path / "absent.safetensors"):
        with pytest.raises(UserError, match=str(damaged)):
            training_state.load(damaged)
