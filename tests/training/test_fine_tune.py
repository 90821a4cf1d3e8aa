import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from named_shards import name_shards
from safetensors.numpy import load_file

from textmill.corpus import tfrecords
from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import checkpoint
from textmill.gpt2.tokenizer import Tokenizer, characters
from textmill.ground.errors import UserError
from textmill.settings.model import Model
from textmill.settings.training import Train
from textmill.training import fine_tune as fine_tuning
from textmill.training.bases.base import Base
from textmill.training.log import Point, Samples

TEXT = "Über the weir the water runs, and the wheel turns, and the stones grind the wheat to flour. " * 5
TRAIN = Train(steps=1, batch=2, learning_rate=1e-30, final_learning_rate=0, warmup_steps=0, dropout=0)
POSITIONS = 24  # of the base


class Seen:
    """Remembers what a training tells."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.steps: list[int] = []
        self.texts: list[str] = []

    def begin(self, training: str, parameters: Any) -> None:
        self.parameters = dict(parameters)

    def point(self, point: Point) -> None:
        self.steps.append(point.step)

    def samples(self, samples: Samples) -> None:
        self.texts += samples.texts


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return characters([TEXT])


@pytest.fixture(scope="module")
def base(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Base:
    directory = tmp_path_factory.mktemp("base") / "hf"
    architecture = Architecture(tokenizer.vocabulary, POSITIONS, layers=1, heads=2, width=16)
    checkpoint.write_hugging_face(directory, weights.initial(architecture, seed=7), architecture, tokenizer)
    described = checkpoint.describe(directory)
    return Base("base/hf", described.form, described.digest(), directory=str(directory), architecture=architecture)


def write_windows(folder: Path, tokenizer: Tokenizer, window: int) -> Path:
    """What Preprocess and ExportArticles leave, in one folder."""
    for split in ("train", "validation"):
        (folder / f"Split-{split}").mkdir(parents=True)
        record = tfrecords.encode_example({"tokens": tokenizer.encode(TEXT)})
        (folder / f"Split-{split}" / "windows-00000-of-00001").write_bytes(tfrecords.frame(record))
    tokenizer.save(folder / "tokenizer.json")
    counts = {"train": 1, "validation": 1}
    facts = {"snapshot": 1, "digest": "d", "time": "t", "sources": {"mill": 2}, "articles": counts, "bytes": counts}
    facts |= {"tokens": counts, "vocabulary": tokenizer.vocabulary, "window": window, "topics": ["Über"]}
    (folder / "facts.json").write_text(json.dumps(facts), "utf-8")
    return name_shards(folder)


def fine_tune(folder: Path, windows: Path, base: Base, live: Seen | None = None) -> fine_tuning.FineTuned:
    articles = folder / "articles"
    (articles / "Split-train").mkdir(parents=True)
    values = {"url": "https://mill.example/1", "source": "mill", "title": "Über", "text": TEXT}
    (articles / "Split-train" / "articles-00000-of-00001").write_bytes(
        tfrecords.frame(tfrecords.encode_example(values))
    )
    name_shards(articles)
    model = Model(layers=1, heads=2, width=16, window=8)
    folders = fine_tuning.Folders(windows, articles, folder / "model", folder / "run", folder / "checkpoints")
    return fine_tuning.fine_tune(folders, "mill", model, TRAIN, "c", base, live)


def test_a_base_is_gone_on_from_with_a_shorter_window(base: Base, tokenizer: Tokenizer, tmp_path: Path) -> None:
    seen = Seen()
    result = fine_tune(tmp_path, write_windows(tmp_path / "windows", tokenizer, 16), base, seen)
    assert "1 steps" in result.sentence
    learned, former = (
        load_file(tmp_path / "model" / "model.safetensors"),
        load_file(Path(base.directory) / "model.safetensors"),
    )
    assert learned["transformer.wpe.weight"].shape == (16, 16)
    for name, value in learned.items():  # the learning rate is as good as none
        assert np.array_equal(value, former[name][: len(value)]), name
    lineage = json.loads((tmp_path / "model" / "lineage.json").read_text("utf-8"))
    assert lineage["base"] == {"name": "base/hf", "form": "hugging-face", "digest": base.digest, "version": 0}
    assert str(tmp_path) not in json.dumps(lineage)
    assert lineage["trained"] == {"steps": 1, "best_step": 0, "batch": 2, "ended": "all steps taken"}
    assert seen.parameters == lineage["settings"]
    assert seen.parameters["model"]["window"] == 16
    assert seen.steps == [0, 1]
    assert [text.startswith("Über\n\n") for text in seen.texts] == [True]


def test_a_window_longer_than_the_bases_positions_is_refused(base: Base, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="window is 25, but the base has only 24 positions"):
        fine_tune(tmp_path, write_windows(tmp_path / "windows", tokenizer, 25), base)


def test_windows_of_another_tokenizer_are_refused(base: Base, tokenizer: Tokenizer, tmp_path: Path) -> None:
    other = characters([TEXT + "xyz"])
    sizes = f"of {other.vocabulary} tokens, but the base base/hf has another one, of {tokenizer.vocabulary}"
    with pytest.raises(UserError, match=sizes):
        fine_tune(tmp_path, write_windows(tmp_path / "windows", other, 16), base)


def test_a_base_that_has_changed_since_the_run_started_is_refused(
    base: Base, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="changed since this run started"):
        fine_tune(tmp_path, write_windows(tmp_path / "windows", tokenizer, 16), replace(base, digest="0" * 64))


def test_a_backend_that_comes_too_late_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    import keras  # with TensorFlow

    assert keras.config.backend() == "tensorflow"
    windows = write_windows(tmp_path / "windows", tokenizer, 8)
    with pytest.raises(UserError, match="'jax' cannot be set"):
        folders = fine_tuning.Folders(windows, tmp_path, tmp_path, tmp_path, tmp_path)
        fine_tuning.fine_tune(folders, "m", Model(), TRAIN.model_copy(update={"backend": "jax"}), "")
