import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.weights import Weights
from textmill.settings.training import Train
from textmill.training.memory import malloc
from textmill.training.step import keras_model as gpt2
from textmill.training.step.tensorflow_step import TensorFlowStep
from textmill.training.step.training_step import TrainingStep

TINY = Architecture(vocabulary=50, window=8, layers=1, heads=2, width=16)
ROWS = np.random.default_rng(1).integers(0, TINY.vocabulary, (8, 9)).astype(np.int32)
INPUTS, TARGETS = ROWS[:, :-1], ROWS[:, 1:]
RECIPE: dict[str, Any] = {"steps": 4, "warmup_steps": 0, "learning_rate": 1e-2, "dropout": 0.2}


def made(**settings: Any) -> TrainingStep:
    return TrainingStep(gpt2.build(TINY), Train(**(RECIPE | settings)))


def figures(step: TrainingStep, steps: range = range(3)) -> np.ndarray:
    """Loss and norm of each step, shape (steps, 2)."""
    return np.array([step.train(number, INPUTS, TARGETS) for number in steps])


def difference(left: Weights, right: Weights) -> float:
    return max(float(np.abs(left[name] - right[name]).max()) for name in left)


@pytest.fixture(scope="module")
def plain() -> tuple[np.ndarray, Weights, dict[str, np.ndarray]]:
    step = made()
    return figures(step), step.weights(), step.state()


def test_parts_of_a_batch_recomputed_are_the_same_training(plain: tuple[np.ndarray, Weights, Any]) -> None:
    step = made(accumulate=4, recompute=True)
    assert np.allclose(figures(step), plain[0], atol=1e-5)
    assert difference(step.weights(), plain[1]) < 2e-5


def test_muon_keeps_one_moment_of_its_matrices_and_adamw_two() -> None:
    states = {optimiser: made(optimiser=optimiser).state() for optimiser in ("auto", "muon", "adamw")}
    assert states["auto"].keys() == states["muon"].keys()
    more = states["adamw"].keys() - states["muon"].keys()
    assert len(more) == 6
    assert all(name.startswith("moment_2/") and name.endswith("/kernel") for name in more)


def test_embeddings_have_a_rate_of_their_own() -> None:
    step = made(embedding_rate=1e-30)
    step.train(0, INPUTS, TARGETS)
    first, after = gpt2.weights_of(gpt2.build(TINY)), step.weights()
    assert {name for name in first if (first[name] == after[name]).all()} == {
        f"transformer.{n}.weight" for n in ("wte", "wpe")
    }


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_averages_are_those_of_all_weights_so_far_and_are_judged_and_kept(optimiser: str) -> None:
    settings = {"optimiser": optimiser, "dropout": 0}
    plain, averaged = made(**settings), made(**settings, average=0.8)
    taken = []
    for number in range(3):
        plain.train(number, INPUTS, TARGETS)
        averaged.train(number, INPUTS, TARGETS)
        taken.append(plain.weights())
    shares = np.array([0.8**2, 0.8, 1]) / (0.8**2 + 0.8 + 1)
    expected = {name: sum(s * w[name] for s, w in zip(shares, taken, strict=True)) for name in taken[0]}
    assert difference(expected, averaged.weights()) < 1e-5 < difference(taken[-1], averaged.weights())
    judged = gpt2.build(TINY)
    gpt2.load_weights(judged, averaged.weights())
    rows = (INPUTS, TARGETS, np.ones_like(INPUTS, np.float32))
    loss = TrainingStep(judged, Train(**(RECIPE | settings))).held_out_loss([rows])
    assert averaged.held_out_loss([rows]) == pytest.approx(loss, abs=1e-6) != plain.held_out_loss([rows])
    places = np.array([3, 15], np.int32)
    logits = [each.next_logits(INPUTS[:2], places) for each in (averaged, plain)]
    assert np.abs(np.subtract(*logits)).max() > 1e-4


def test_averages_of_low_rank_matrices_are_merged() -> None:
    step = made(lora_rank=2, average=0.5, learning_rate=3e-2)
    figures(step)
    standing, kept = gpt2.weights_of(step._model), step.weights()
    moved = {name for name, value in standing.items() if (value != kept[name]).any()}
    assert moved == {"transformer.h.0.attn.c_attn.weight"}


def test_bfloat16_computes_nearly_the_same_with_float32_weights(plain: tuple[np.ndarray, Weights, Any]) -> None:
    step = made(precision="bfloat16")
    found = figures(step)
    assert (found != plain[0]).any()
    assert np.allclose(found, plain[0], rtol=0.02)
    assert all(value.dtype == np.float32 for value in step.state().values())


def test_a_float16_step_that_overflows_is_left_out_and_halves_the_scale(plain: tuple[np.ndarray, Weights, Any]) -> None:
    step = made(precision="float16")
    assert np.allclose(figures(step), plain[0], rtol=0.02)
    state = step.state()
    assert (state["loss_scale"], state["good_steps"]) == (2**15, 3)
    step.restore(state | {"loss_scale": np.float32(2**40)})
    loss, norm = step.train(3, INPUTS, TARGETS)
    assert np.isfinite(loss)
    assert norm == 0
    after = step.state()
    assert (after.pop("loss_scale"), after.pop("good_steps")) == (2**39, 0)
    assert all(value.tobytes() == state[name].tobytes() for name, value in after.items())
    step.restore(state | {"good_steps": np.float32(999)})
    step.train(3, INPUTS, TARGETS)
    after = step.state()
    assert (after["loss_scale"], after["good_steps"]) == (2**16, 0)


def test_low_rank_training_moves_the_merged_queries_and_values_alone() -> None:
    step = made(lora_rank=2, lora_alpha=4, learning_rate=3e-2)
    before = step.weights()
    assert difference(before, gpt2.weights_of(gpt2.build(TINY))) == 0
    found = figures(step, range(4))
    assert found[-1][0] < found[0][0]
    moved = {name for name, value in step.weights().items() if (value != before[name]).any()}
    assert moved == {"transformer.h.0.attn.c_attn.weight"}
    query, key, value = np.split(step.weights()[name := moved.pop()] - before[name], 3, axis=1)
    assert (key == 0).all()
    state = step.state()
    assert len(state) == 3 * 4  # weights and moments of two matrices beside each of two kernels
    for part, layer in (query, "query"), (value, "value"):
        matrices = [state[f"weight/transformer_layer_0/self_attention/{layer}/lora_kernel_{each}"] for each in "ab"]
        assert np.allclose(part, 2 * np.matmul(*matrices).reshape(16, 16), atol=1e-6)
    other = made(lora_rank=2, lora_alpha=4, learning_rate=3e-2)
    other.restore(state)
    assert difference(other.weights(), step.weights()) == 0


@pytest.mark.parametrize("settings", [{}, {"optimiser": "adamw"}, {"average": 0.9}], ids=str)
def test_a_state_restores_bit_for_bit_in_another_step(settings: dict[str, Any]) -> None:
    whole, first, second = (made(**settings) for _ in range(3))
    figures(whole)
    first.train(0, INPUTS, TARGETS)
    second.train(7, TARGETS, INPUTS)  # turns up in between
    second.restore(first.state())
    for step in (first, second):
        figures(step, range(1, 3))
        assert all(step.state()[name].tobytes() == value.tobytes() for name, value in whole.state().items())
        assert difference(step.weights(), whole.weights()) == 0


def test_next_logits_are_those_of_the_weights_as_they_stand() -> None:
    step = made()
    step.train(0, INPUTS, TARGETS)
    model = gpt2.build(TINY)
    gpt2.load_weights(model, step.weights())
    expected = model({"token_ids": INPUTS[:2], "padding_mask": np.ones_like(INPUTS[:2])}, training=False)
    found = step.next_logits(INPUTS[:2], np.array([3, 15], np.int32))
    assert np.abs(found[0] - expected[0, 3]).max() < 1e-5
    assert np.abs(found[1] - expected[1, 7]).max() < 1e-5


def test_many_trainings_do_not_gather_in_memory() -> None:
    resident = []
    for _ in range(6):
        made().train(0, INPUTS, TARGETS)
        gc.collect()
        malloc.give_freed_memory_back()
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        resident.append(int(status.split("VmRSS:")[1].split()[0]) / 1e3)
    assert resident[-1] - resident[0] < 50  # MB; what XLA compiles for one is 25


def test_a_dropped_training_leaves_none_of_its_weights() -> None:
    step = made()
    step.train(0, INPUTS, TARGETS)
    compiled, variables = step._compiled, [each.value for each in step._model.weights]
    assert isinstance(compiled, TensorFlowStep)
    moments = [variable.handle for name, variable in compiled._state.items() if "moment" in name]
    left = [weakref.ref(each) for each in (step, compiled, *moments)]
    weights = [weakref.ref(each) for variable in variables for each in (variable, variable.handle)]
    del step, compiled, variables, moments
    assert {each() is None for each in left} == {True}
    gc.collect()  # a Keras model stands in cycles
    assert {each() is None for each in weights} == {True}
