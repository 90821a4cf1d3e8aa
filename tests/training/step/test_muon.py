"""Muon's directions, beside NumPy's singular values and its definition."""

import numpy as np
import pytest

from textmill.gpt2.architecture import Architecture, of_size
from textmill.settings.training import Train
from textmill.training.memory.optimiser_choice import optimiser_of
from textmill.training.step import keras_model as gpt2
from textmill.training.step import muon

from keras import ops  # isort: skip
from textmill.training.step.optimiser import Optimiser  # isort: skip

BLOCK = "transformer_layer_0"
GENERATOR = np.random.default_rng(1)


def normal(*shape: int) -> np.ndarray:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def direction(path: str, update: np.ndarray) -> np.ndarray:
    return ops.convert_to_numpy(muon.directions({path: ops.convert_to_tensor(update)})[path])


def by_definition(matrix: np.ndarray) -> np.ndarray:
    """Jordan's own order of products, in float64."""
    found = matrix.astype(np.float64) / np.linalg.norm(matrix)
    for _ in range(5):
        square = found @ found.T
        found = 3.4445 * found + (-4.7750 * square + 2.0315 * square @ square) @ found
    return found


@pytest.mark.parametrize("shape", [(32, 32), (32, 128), (128, 32)])
def test_a_direction_has_singular_values_near_one_and_the_momentums_singular_vectors(shape: tuple[int, int]) -> None:
    update = normal(*shape)
    found = direction(f"{BLOCK}/dense/kernel", update) / (0.5 * max(1, shape[1] / shape[0]) ** 0.5)
    values = np.linalg.svd(found, compute_uv=False)
    assert 0.3 < values.min() < values.max() < 1.25
    left, _, right = np.linalg.svd(update, full_matrices=False)
    rotated = left.T @ found @ right.T
    assert np.abs(rotated - np.diag(np.diag(rotated))).max() < 1e-4
    expected = by_definition(update) if shape[0] <= shape[1] else by_definition(update.T).T
    assert np.abs(found - expected).max() < 1e-5


def test_small_singular_values_survive_the_squares() -> None:
    left, _, right = np.linalg.svd(normal(16, 64), full_matrices=False)
    update = (left * np.geomspace(1, 1e-6, 16)) @ right
    found = direction(f"{BLOCK}/dense/kernel", update.astype(np.float32)) / (0.5 * 2)
    assert np.abs(found - by_definition(update)).max() < 1e-3


def test_each_matrix_is_orthogonal_for_itself_whatever_its_heads_and_neighbours() -> None:
    query, key, out = normal(32, 4, 8), normal(32, 4, 8), normal(4, 8, 32)
    names = [f"{BLOCK}/self_attention/{name}/kernel" for name in ("query", "key", "attention_output")]
    given = dict(zip(names, map(ops.convert_to_tensor, (query, key, out)), strict=True))
    found = muon.directions(given)
    for name, value in zip(names, (query, key, out), strict=True):
        alone = direction(f"{BLOCK}/dense/kernel", value.reshape(32, 32)).reshape(value.shape)
        assert np.abs(ops.convert_to_numpy(found[name]) - alone).max() < 1e-6


def test_a_matrix_of_zeros_stays_where_it_is() -> None:
    assert (direction(f"{BLOCK}/dense/kernel", np.zeros((8, 32), np.float32)) == 0).all()


def test_muon_takes_the_matrices_inside_blocks_and_no_other_variable() -> None:
    model = gpt2.build(Architecture(vocabulary=50, window=8, layers=2, heads=2, width=16))
    shapes = {variable.path: tuple(variable.shape) for variable in model.trainable_variables}
    taken = {path for path in shapes if muon.takes(path)}
    assert len(taken) == 2 * 6
    assert {int(np.prod(shapes[path])) for path in taken} == {16 * 16, 16 * 64}
    assert all(len(shapes[path]) == 1 or "embedding" in path or "bias" in path for path in shapes.keys() - taken)


def test_the_momentum_rises_over_a_hundred_steps() -> None:
    assert [muon.momentum(step) for step in (0, 50, 100, 1000)] == pytest.approx([0.85, 0.9, 0.95, 0.95])


def test_auto_takes_adamw_where_muon_would_more_than_double_a_step() -> None:
    demo, large = Architecture(2048, window=128, layers=3, heads=4, width=128), of_size("124M", window=256)
    assert optimiser_of(demo, Train(), 8) == "muon"
    assert optimiser_of(demo, Train(lora_rank=4), 8) == "adamw"
    assert optimiser_of(large, Train(), 1) == "adamw"
    assert optimiser_of(large, Train(optimiser="muon"), 1) == "muon"
    assert optimiser_of(large, Train(accumulate=4), 4) == "muon"


def test_rates_follow_one_schedule() -> None:
    settings = Train(optimiser="muon", learning_rate=1e-3, embedding_rate=4e-3, muon_learning_rate=0.03, average=0.5)
    found = Optimiser(settings).rates(1, 0.5)
    assert found[:3] == pytest.approx([5e-4, 2e-3, 0.015])
    assert found[-1] == pytest.approx(0.5 / (1 - 0.25))  # of two weights, the later one counts twice the other
    assert Optimiser(Train(optimiser="muon", learning_rate=1e-3)).rates(0, 1)[:3] == pytest.approx([1e-3, 1e-3, 0.01])
