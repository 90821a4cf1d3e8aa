"""The same model in gpt-2-simple, in transformers and here: the same logits, and each reads what the other wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_checkpoints import TEXT, TOKENS, bpe, random_weights, small

from textmill.gpt2.formats import checkpoint
from textmill.gpt2.formats.checkpoint import Checkpoint
from textmill.training.step import keras_model as gpt2

HERE = Path(__file__).parent
REFERENCES = HERE / "references"
PEERS = HERE.parent.parent / ".venv-peers" / "bin" / "python"  # torch and transformers: `make peers`
CLOSE = 1e-4


def _logits(read: Checkpoint) -> np.ndarray:
    model = gpt2.build(read.architecture)
    gpt2.load_weights(model, read.weights)
    tokens = np.array(TOKENS, np.int32)
    given = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    return np.asarray(model(given, training=False))


@pytest.fixture(scope="module")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which gpt-2-simple has made a checkpoint and a run, and has read a run of ours."""
    folder = tmp_path_factory.mktemp("simple")
    shape = small(1024)  # gpt-2-simple trains on windows of 1024 whatever the model
    checkpoint.write_gpt_2_simple(folder / "checkpoint" / "ours", random_weights(shape), shape, bpe(), step=7)
    (folder / "models" / "small").mkdir(parents=True)
    for name in ("hparams.json", "encoder.json", "vocab.bpe"):
        (folder / "models" / "small" / name).write_bytes((folder / "checkpoint" / "ours" / name).read_bytes())
    (folder / "text.txt").write_text(TEXT * 100, encoding="utf-8")
    (folder / "tokens.json").write_text(json.dumps(TOKENS), encoding="utf-8")
    command = [sys.executable, str(REFERENCES / "gpt_2_simple_run.py"), str(folder)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUTF8": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.parametrize(
    ("directory", "form"),
    [("models/small", "openai"), ("checkpoint/run1", "gpt-2-simple"), ("checkpoint/ours", "gpt-2-simple")],
)
def test_logits_are_those_of_gpt_2_simple(simple: Path, directory: str, form: str) -> None:
    read = checkpoint.read(simple / directory)
    assert read.form == form
    expected = np.load(simple / "logits.npz")[directory.replace("/", "-")]
    assert np.abs(_logits(read) - expected).max() < CLOSE


def test_a_run_of_gpt_2_simple_comes_back_to_it_bit_for_bit(simple: Path, tmp_path: Path) -> None:
    read = checkpoint.read(simple / "checkpoint" / "run1")
    assert read.tokenizer is not None
    checkpoint.write_gpt_2_simple(tmp_path / "again", read.weights, read.architecture, read.tokenizer, step=2)
    names = {path.name for path in (tmp_path / "again").iterdir()}
    assert {"checkpoint", "counter", "hparams.json", "model-2.index", "model-2.data-00000-of-00001"} < names
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (simple / "checkpoint" / "run1" / name).read_bytes(), name


def test_logits_are_those_that_transformers_gave(tmp_path: Path) -> None:
    reference = json.loads((REFERENCES / "transformers_logits.json").read_text(encoding="utf-8"))
    shape = small()
    checkpoint.write_hugging_face(tmp_path / "ours", random_weights(shape), shape, bpe())
    assert np.abs(_logits(checkpoint.read(tmp_path / "ours")) - np.array(reference["logits"])).max() < CLOSE
    assert bpe().encode(TEXT) == reference["text_tokens"]


@pytest.mark.skipif(not PEERS.exists(), reason="torch and transformers are not installed: make peers")
def test_transformers_reads_ours_and_ours_reads_what_it_saves(tmp_path: Path) -> None:
    shape, own = small(), bpe()
    checkpoint.write_hugging_face(tmp_path / "ours", random_weights(shape), shape, own)
    (tmp_path / "tokens.json").write_text(json.dumps({"tokens": TOKENS, "text": TEXT}), encoding="utf-8")
    command = [PEERS, REFERENCES / "transformers_logits.py", "ours", "tokens.json", "saved", "10KB"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=550)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert np.abs(_logits(checkpoint.read(tmp_path / "ours")) - np.array(found["logits"])).max() < CLOSE
    assert (found["text_tokens"], found["decoded"], found["end"]) == (own.encode(TEXT), TEXT, own.end)
    assert (tmp_path / "saved" / "model.safetensors.index.json").is_file()
    saved, ours = (checkpoint.read(tmp_path / name) for name in ("saved", "ours"))
    assert all(np.array_equal(saved.weights[name], ours.weights[name]) for name in ours.weights)
    assert saved.tokenizer is not None
    assert saved.tokenizer.encode(TEXT) == own.encode(TEXT)
