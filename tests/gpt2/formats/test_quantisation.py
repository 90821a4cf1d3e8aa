"""Matrices of few bits: what is stored, and what ONNX Runtime makes of it."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.formats.quantisation import to_bytes, to_nibbles
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import characters
from textmill.ground.errors import UserError

ALPHABET = "abcdefghijklmnopqrstuvwxyz "
SHAPE = Architecture(vocabulary=len(ALPHABET) + 2, window=24, layers=2, heads=5, width=80)  # no multiple of a block


def test_a_weight_of_eight_bits_moves_by_at_most_half_a_step_of_its_output() -> None:
    matrix = np.random.default_rng(1).standard_normal((80, 7), np.float32) * 10.0 ** np.arange(7, dtype=np.float32)
    matrix[:, 3] = 0
    found = to_bytes(matrix)
    restored = found.restored()
    assert (np.abs(restored - matrix) <= found.scales * 0.5001).all()
    assert (restored[:, 3] == 0).all()
    assert np.allclose(found.sums, restored.sum(axis=0), rtol=1e-4, atol=found.scales)


def test_a_weight_of_four_bits_moves_by_at_most_half_a_step_of_its_block() -> None:
    matrix = np.random.default_rng(1).standard_normal((80, 7), np.float32)
    matrix[:, 3] = 0
    found = to_nibbles(matrix)
    restored = found.restored()[:80]
    moved = np.abs(restored - matrix)
    steps = np.abs(found.scales).repeat(32, axis=1)[:, :80].T
    # the far end opposite to the extreme is cut off at one step less than the extreme
    assert (moved <= steps * 1.0001).all()
    assert np.median(moved / np.maximum(steps, 1e-9)) <= 0.5
    assert (restored[:, 3] == 0).all()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantised") / "bundle"
    made = weights.initial(SHAPE, seed=3)
    bundle.write_bundle(path, made, SHAPE, characters([ALPHABET]), {}, {}, "", ("int8", "int4"))
    return path


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.02), ("int4", 0.25)])
def test_the_graph_computes_with_the_stored_values(
    directory: Path, tmp_path: Path, precision: str, tolerance: float
) -> None:
    rounded = dict(weights.initial(SHAPE, seed=3))
    for name, value in rounded.items():
        if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            found = to_bytes(value) if precision == "int8" else to_nibbles(value)
            rounded[name] = np.ascontiguousarray(found.restored()[: len(value)])
    bundle.write_bundle(tmp_path / "rounded", rounded, SHAPE, characters([ALPHABET]), {}, {}, "")
    tokens = np.random.default_rng(0).integers(0, SHAPE.vocabulary, SHAPE.window).tolist()
    asked = range(SHAPE.window)
    expected = Session(tmp_path / "rounded", 1, 1).forward(0, tokens, 0, asked)
    found = Session(directory, 1, 1, precision).forward(0, tokens, 0, asked)
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_rows_of_activations_unlike_each_other_are_rounded_each_by_itself(tmp_path: Path) -> None:
    # a layer's inputs with a row a million times another, one of equal values, one far from zero: exact but for rounding
    made = weights.initial(SHAPE, seed=3)
    made["transformer.wpe.weight"] *= 10.0 ** np.arange(-12, 12, dtype=np.float32)[:, None]
    made["transformer.wpe.weight"][5] = 0
    made["transformer.ln_f.bias"] += 7
    bundle.write_bundle(tmp_path / "b", made, SHAPE, characters([ALPHABET]), {}, {}, "", ("int8",))
    tokens = np.random.default_rng(0).integers(0, SHAPE.vocabulary, SHAPE.window).tolist()
    found, expected = (
        Session(tmp_path / "b", 1, 1, each).forward(0, tokens, 0, range(SHAPE.window)) for each in ("int8", "float32")
    )
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_row_depends_on_no_other(directory: Path, precision: str) -> None:
    alone, together = Session(directory, 1, 1, precision), Session(directory, 3, 1, precision)
    expected = alone.forward(0, [5, 6, 7], 0, [2])
    assert (together.forward(2, [5, 6, 7], 0, [2]) == expected).all()
    step = alone.step([4], [3]).copy()
    together.forward(0, [9], 0, [])
    together.forward(1, [9, 8, 7, 6], 0, [])
    beside = together.step([1, 2, 4], [1, 4, 3])[2]
    # ONNX Runtime multiplies a single row of four-bit weights by a kernel of its own, which sums in another order
    assert (beside == step[0]).all() if precision == "int8" else np.allclose(beside, step[0], atol=1e-5)


def test_the_float16_graph_computes_what_float32_does_but_for_its_rounding(directory: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, SHAPE.vocabulary, SHAPE.window).tolist()
    half = Session(directory, 1, 1, "float16")
    found, expected = (each.forward(0, tokens, 0, range(24)) for each in (half, Session(directory, 1, 1, "float32")))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.005 * np.abs(expected).max()


def test_rows_of_float16_are_copied_by_the_device_that_holds_them(directory: Path) -> None:
    session, alone = Session(directory, 3, 1, "float16"), Session(directory, 1, 1, "float16")
    alone.forward(0, [5, 6, 7], 0, [])
    expected = alone.step([4], [3])[0].copy()
    session.forward(2, [5, 6, 7], 0, [])
    session.forward(1, [9, 9, 9, 9], 0, [])
    session.copy_row(2, 0, 3)
    assert np.allclose(session.step([4, 1], [3, 4])[0], expected, atol=1e-3)
    assert np.allclose(session.step([4, 1, 4], [3, 4, 3])[2], expected, atol=1e-3)


def test_float16_weights_are_on_disk_once(directory: Path) -> None:
    assert bundle.precisions(directory) == ["float32", "float16", "int8", "int4"]
    assert not (directory / "model.float16.safetensors").exists()
    assert (directory / "model.float16.onnx").stat().st_size < 100_000


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="GPUs can be used here")
def test_a_gpu_that_cannot_be_used_is_refused_in_words(directory: Path) -> None:
    with pytest.raises(UserError, match="install the package onnxruntime-gpu"):
        Session(directory, 1, device="cuda:0")


def test_a_precision_that_the_bundle_lacks_is_named(tmp_path: Path) -> None:
    bundle.write_bundle(tmp_path / "b", weights.initial(SHAPE), SHAPE, characters([ALPHABET]), {}, {}, "")
    with pytest.raises(UserError, match="no graph in int4, only float32"):
        Session(tmp_path / "b", 1, 1, "int4")
