"""What a run records is what it did, whatever its folders held before: the pipeline run in this process, several times.

The store, MLflow, TFX and the training are real; only the articles are few and the training short.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import local
from pipeline.local import Part
from textmill.articles.article import Article, now
from textmill.articles.store import ArticleStore
from textmill.corpus import exported_articles
from textmill.gpt2.formats import bundle
from textmill.ground.errors import UserError
from textmill.registry.model_registry import ModelRegistry
from textmill.settings import yaml_file

pytestmark = pytest.mark.timeout(1800)

SETTINGS = """
name: {name}
store: {{database: {name}}}
corpus: {{imported: {sources}, eval_percent: 20, validation_percent: 20, near_duplicates: 0}}
tokenizer: {{kind: characters}}
model: {{layers: 1, heads: 1, width: 16, window: 16, quantise: none}}
train: {{steps: {steps}{more}, optimiser: adamw, batch: 4, warmup_steps: 0, learning_rate: 0.01, eval_every: 5}}
evaluate: {{form: warn, samples: 1, texts: 1, sample_tokens: 8, probes: 0, max_copied_percent: 100, margin_percent: {margin}}}
registry: {{promote: if-better}}
"""
BEATEN = 0.0  # percent below an untrained model that any training reaches
NEVER = 99.9


@dataclass
class Life:
    """A project, run in this process."""

    folder: Path
    name: str
    store: ArticleStore
    registry: ModelRegistry
    sources: tuple[str, ...] = ("mill", "barn")
    margin: float = BEATEN
    steps: int = 10
    more: str = ""  # settings of the training

    def run(self, part: Part | None = None, runner: str = "local") -> list[str]:
        """Run the pipeline, and return the steps that worked."""
        file = self.folder / "textmill.yaml"
        settings = {"name": self.name, "sources": [*self.sources], "margin": self.margin, "steps": self.steps}
        settings["more"] = self.more
        file.write_text(SETTINGS.format(**settings), "utf-8")
        snapshot = self.store.take_snapshot(yaml_file.load(file).learned_sources)
        with tempfile.TemporaryFile() as told, pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEXTMILL_PROGRESS_FD", str(told.fileno()))
            try:
                local.run(file, snapshot.number, runner, part)
            finally:
                told.seek(0)
                events = [json.loads(line) for line in told]
        return [event["name"] for event in events if event["event"] == "step"]

    @property
    def root(self) -> Path:
        return self.folder / ".textmill" / "pipeline"

    def newest(self, artifact: str) -> Path:
        """The folder of the latest execution's artifact, such as `FineTune/model`."""
        return max((self.root / "artifacts" / artifact).iterdir(), key=lambda folder: int(folder.name))

    def lose_the_metadata(self) -> None:
        (self.root / "metadata.sqlite").unlink()


@pytest.fixture
def life(
    tmp_path: Path, database: str, store: ArticleStore, mongodb_uri: str, mlflow_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Life]:  # fmt: skip
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("TEXTMILL_RUN", "a test")
    monkeypatch.setattr(sys, "argv", sys.argv[:1])  # TFX reads the options of this process as its own
    for source, count in (("mill", 40), ("barn", 60)):
        texts = [f"The {source} stands by the water and number {number} turns. " * 5 for number in range(count)]
        store.upsert(
            [Article(f"http://{source}.example/{i}", source, f"{source} {i}", t, now()) for i, t in enumerate(texts)]
        )
    yield Life(tmp_path, database, store, ModelRegistry(mlflow_uri, database))


STEPS = ["ExportArticles", "Preprocess", "FineTune", "Evaluate", "Register"]


def test_a_refused_model_stays_refused_where_an_earlier_life_blessed_another(life: Life) -> None:
    assert life.run() == STEPS
    assert life.registry.version(1).stage == "Production"
    blessing = life.newest("Evaluate/blessing")
    assert [file.name for file in blessing.iterdir()] == ["BLESSED"]
    life.lose_the_metadata()
    life.steps, life.margin = 12, NEVER
    assert life.run() == STEPS
    assert life.newest("Evaluate/blessing") == blessing  # executions were counted from 1 again
    assert [file.name for file in blessing.iterdir()] == ["NOT_BLESSED"]
    assert life.registry.version(2).doubt
    assert life.registry.version(2).stage == "None"
    assert life.registry.version(1).stage == "Production"


def test_excluded_articles_of_an_earlier_life_are_not_learned_from(life: Life) -> None:
    life.run()
    life.lose_the_metadata()
    life.sources = ("mill",)
    assert life.run() == STEPS
    model = life.newest("FineTune/model")
    lineage = bundle.read_json(model, bundle.LINEAGE)
    assert lineage["corpus"]["sources"] == {"mill": 40}
    for split in ("train", "validation", "eval"):
        folder = life.newest("ExportArticles/examples") / f"Split-{split}"
        assert {article.source for article in exported_articles.read(folder)} == {"mill"}
        assert len(list(folder.iterdir())) == 1
    learned = (model / "verbatim" / "articles.jsonl").read_text("utf-8")
    assert "mill.example" in learned and "barn.example" not in learned


def test_a_stray_file_in_every_artifact_changes_nothing(life: Life) -> None:
    life.run()
    checksum = life.registry.version(1).checksum
    for artifact in life.root.glob("artifacts/*/*/*"):
        if not artifact.is_dir() or artifact.parent.name.startswith("."):
            continue
        for place in [artifact, *(folder for folder in artifact.rglob("*") if folder.is_dir())]:
            (place / "BLESSED").write_bytes(b"stray")
            (place / "articles-00000-of-00009.tfrecord.gz").write_bytes(b"stray")
            (place / "model.int4.onnx").write_bytes(b"stray")
    # what was made is read again, by steps that run again
    assert life.run(Part(first="Preprocess")) == STEPS[1:]
    assert len(life.registry.versions()) == 1
    assert bundle.verify(life.newest("FineTune/model")) == checksum
    life.run(Part(only="Register"))
    # and written again, into the same folders
    life.lose_the_metadata()
    life.steps = 12
    assert life.run() == STEPS
    assert len(list(life.newest("Evaluate/blessing").iterdir())) == 1
    downloaded = life.registry.download(life.registry.version(2), life.folder / "models")
    assert {file.name for file in downloaded.rglob("*") if file.is_file()} & {"BLESSED", "model.int4.onnx"} == set()


def test_a_restored_backup_of_the_metadata_does_not_pass_a_later_life_for_its_own(life: Life) -> None:
    life.run()
    backup = life.folder / "backup.sqlite"
    shutil.copy(life.root / "metadata.sqlite", backup)
    life.lose_the_metadata()
    life.sources = ("mill",)
    life.run()
    shutil.copy(backup, life.root / "metadata.sqlite")
    life.sources = ("mill", "barn")
    life.steps = 12  # so that FineTune runs, on what ExportArticles and Preprocess are recorded to have made
    with pytest.raises(Exception, match="differs from the digest in the pipeline's metadata"):
        life.run()
    assert life.run(Part(first="ExportArticles")) == STEPS


def test_damaged_metadata_is_named_with_its_cure_and_the_run_after_it_is_right(life: Life) -> None:
    assert life.run() == STEPS
    file = life.root / "metadata.sqlite"
    data = bytearray(file.read_bytes())
    data[100:5000] = os.urandom(4900)
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged .*Move it away \(mv .*No result is lost"):
        life.run()
    file.rename(f"{file}.damaged")
    assert life.run() == STEPS
    (version,) = life.registry.versions()  # the same model, which is there
    assert bundle.verify(life.newest("FineTune/model")) == version.checksum


def test_only_what_can_differ_runs_again_and_a_deleted_version_is_registered_again(life: Life) -> None:
    import mlflow

    life.run()
    assert life.run() == ["Evaluate", "Register"]  # version 1 is in Production by now
    life.more = ", keep_checkpoints: 1, checkpoint_every_s: 5, memory: 3.5"
    assert life.run() == ["Register"]
    client = mlflow.MlflowClient(life.registry.tracking_uri)
    client.transition_model_version_stage(life.name, "1", "Archived")
    client.delete_model_version(life.name, "1")
    life.run()
    assert [version.number for version in life.registry.versions()] == [2]
    assert life.registry.version(2).stage == "Production"
    client.transition_model_version_stage(life.name, "2", "Archived")
    client.delete_registered_model(life.name)
    life.run()
    (version,) = life.registry.versions()
    assert version.stage == "Production"


def test_parts_run_from_what_was_recorded(life: Life) -> None:
    with pytest.raises(UserError, match="No run has recorded the inputs of Evaluate"):
        life.run(Part(only="Evaluate"))
    life.run()
    assert life.run(Part(only="Evaluate")) == ["Evaluate"]
    life.sources = ("mill",)  # another snapshot, which these do not look at
    assert life.run(Part(first="FineTune"), runner="beam") == ["FineTune", "Evaluate", "Register"]
    lineage = bundle.read_json(life.newest("FineTune/model"), bundle.LINEAGE)
    assert lineage["corpus"]["sources"] == {"mill": 40, "barn": 60}
