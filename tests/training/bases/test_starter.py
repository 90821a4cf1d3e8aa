"""The starter comes with the package: small, loaded without a network, and able to write English."""

import socket
from pathlib import Path

import numpy as np
import pytest

from textmill.gpt2.formats import checkpoint
from textmill.registry.model_registry import ModelRegistry
from textmill.settings.config import Config
from textmill.training.bases import resolving

MOST_BYTES = 15_000_000


def test_it_is_small_and_has_a_card() -> None:
    files = [file for file in resolving.STARTER_FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    assert {file.name for file in files} >= {"README.md", "config.json", "model.safetensors", "tokenizer.json"}
    assert not [file for file in files if file.suffix in (".bin", ".pt", ".pkl")]


def test_it_is_resolved_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("the starter asked for a network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    config = Config.model_validate(
        {
            "name": "site",
            "data_dir": tmp_path,
            "sources": [{"name": "site", "start": "http://a.example/"}],
            "model": {"base": "starter"},
        }
    )
    base = resolving.resolve(config, ModelRegistry("http://127.0.0.1:9", "site"))
    assert (base.name, base.from_scratch) == ("starter", False)
    assert resolving.shape(config.model, base).window == base.architecture.window  # type: ignore[union-attr]


def test_its_weights_are_numbers_and_its_tokenizer_reads_newlines_as_one_piece() -> None:
    found = checkpoint.read(resolving.STARTER_FOLDER)
    assert all(np.isfinite(tensor).all() and tensor.dtype == np.float32 for tensor in found.weights.values())
    assert found.tokenizer is not None
    tokens = found.tokenizer.encode("A line.\n\nAnother.")
    assert found.tokenizer.decode(tokens) == "A line.\n\nAnother."
    assert found.tokenizer.encode("\n\n") == [token for token in tokens if found.tokenizer.decode([token]) == "\n\n"]
