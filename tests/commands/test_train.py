"""`textmill train`: from a plain text file to a model, without TFX, MLflow or a store."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from textmill.articles.article import Article, now
from textmill.articles.store import ArticleStore
from textmill.commands import train as light_training
from textmill.corpus import plain_text, tfrecords
from textmill.corpus.plain_text import TextFile
from textmill.gpt2 import tokenizer
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import END
from textmill.ground.errors import UserError

LINES = "".join(f"In line {number} the miller counts sacks of rye and wheat.\n" for number in range(4000))
CONFIG = """
name: mill
text: mill.txt
data_dir: out
tokenizer: {kind: characters}
model: {layers: 1, heads: 1, width: 16, window: 16}
train: {steps: 12, batch: 4, warmup_steps: 2, eval_every: 6, sample_every: 12, learning_rate: 0.01}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mill.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


def _tokens(folder: Path) -> list[int]:
    return [t for record in tfrecords.read_records(folder / "text") for t in tfrecords.int_feature(record, "tokens")]


def test_pieces_are_the_whole_text_and_the_last_tenth_is_held_out(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "_PIECE", 1000)
    text = TextFile.open(file, 10)
    train, held_out = ([piece for piece, _ in text.pieces(split)] for split in ("train", "validation"))
    assert "".join(train) + "".join(held_out) == LINES
    assert len("".join(held_out)) == pytest.approx(len(LINES) / 10, abs=1)
    assert len(train) > 100


def test_pieces_give_the_tokens_of_the_whole(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "_PIECE", 777)
    own = tokenizer.train_bpe([LINES], 400)
    text = TextFile.open(file, 10)
    plain_text.prepare(text, own, 16, tmp_path / "windows", tmp_path / "articles")
    assert _tokens(tmp_path / "windows" / "Split-train") == [*own.encode(LINES[: text.boundary]), own.end]


def test_an_end_mark_in_the_text_ends_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "_PIECE", 5)  # the mark straddles blocks
    path = tmp_path / "t.txt"
    path.write_text(f"first one{END}second one{END}{'x' * 40}", encoding="utf-8")
    pieces = list(TextFile.open(path, 25).pieces("train"))
    documents = "".join(piece + "|" * ends for piece, ends in pieces)
    assert documents.startswith("first one|second one|xxx")
    assert documents.count("|") == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist; name a text"), (b"\xff\xfe\x00", "is not UTF-8 text"), (b"", "too few to train on")],
)
def test_a_text_that_will_not_do_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "t.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        TextFile.open(path, 10)


def test_neither_text_nor_configuration_is_said_in_one_sentence() -> None:
    with pytest.raises(UserError, match="Name a text and a folder"):
        light_training.plan(None, None, None, "", None)


def test_options_stand_above_the_configuration(tmp_path: Path, file: Path) -> None:
    (tmp_path / "mill.yaml").write_text(CONFIG, encoding="utf-8")
    config = light_training.plan(tmp_path / "mill.yaml", None, tmp_path / "other", "", 5)
    assert (config.text, config.data_dir, config.train.steps) == (file, tmp_path / "other", 5)
    assert config.model.width == 16


def test_articles_of_the_store_become_a_text(
    store: ArticleStore, database: str, mongodb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    article = Article(url="http://a.example/1", source="a", title="One", text="Text of one.", fetched=now())
    store.upsert([article])
    (tmp_path / "c.yaml").write_text(
        f"name: a\nsources: [{{name: a, start: 'http://a.example/'}}]\nstore: {{database: {database}}}\n",
        encoding="utf-8",
    )
    config = light_training.plan(tmp_path / "c.yaml", None, tmp_path / "out", "", None)
    written = light_training.from_store(config, tmp_path / "articles.txt")
    assert written.read_text(encoding="utf-8") == f"One\n\nText of one.{END}"


def test_a_text_becomes_a_model_and_the_same_command_again_trains_no_more(file: Path, tmp_path: Path) -> None:
    (tmp_path / "mill.yaml").write_text(CONFIG, encoding="utf-8")
    config = light_training.plan(tmp_path / "mill.yaml", None, None, "", None)
    made = light_training.work(config)
    model = tmp_path / "out" / "model"
    assert bundle.verify(model) == made["checksum"]
    assert json.loads((model / "lineage.json").read_text(encoding="utf-8"))["corpus"]["snapshot"] == "mill.txt"
    history = json.loads((tmp_path / "out" / "logs" / "history.json").read_text(encoding="utf-8"))
    losses = [point["held_out_loss"] for point in history if point.get("held_out_loss")]
    assert losses[-1] < losses[0]
    first = bundle.read_weights(model)
    again = light_training.work(config)
    assert again["checksum"] == made["checksum"]
    assert all(np.array_equal(value, first[name]) for name, value in bundle.read_weights(model).items())


def test_light_training_imports_neither_tfx_nor_mlflow_nor_beam_nor_a_store() -> None:
    code = (
        "import sys, textmill.commands.train, textmill.training.fine_tune, textmill.corpus.plain_text;"
        "print([n for n in ('tfx', 'mlflow', 'apache_beam', 'pymongo', 'scrapy', 'tensorflow') if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
