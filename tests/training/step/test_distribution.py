"""Training on several devices, and what is JAX's own; each backend has a process of its own."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("distributed_training.py")

pytestmark = pytest.mark.timeout(1800)  # the first test of a backend compiles all that the others look at


@cache
def found(backend: str) -> dict[str, Any]:
    """What the script printed."""
    done = subprocess.run([sys.executable, SCRIPT, backend], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def check(backend: str, kind: str, close: float) -> None:
    """Check that two trainings differ by less than `close`, and that the other one's state could be restored."""
    differences = dict(found(backend)[kind])
    assert differences.pop("moved") > 1e-3
    assert differences.pop("restored") == 0
    assert max(differences.values()) < close, differences


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_four_devices_come_to_what_one_comes_to(backend: str) -> None:
    check(backend, "full", 2e-5)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_low_rank_training_in_float16_is_the_same_on_two_devices(backend: str) -> None:
    check(backend, "low_rank", 2e-4)  # float16 has 11 bits
    assert found(backend)["overflowed"] == [0, 2**39, True]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_what_devices_cannot_share_and_devices_that_are_not_there_are_refused(backend: str) -> None:
    assert "train.batch is 6, but 4 devices share it" in found(backend)["odd_batch"]
    assert "this machine has 4" in found(backend)["too_many"]


def test_parts_of_a_batch_are_the_same_training_on_jax() -> None:
    check("jax", "accumulated", 2e-5)


def test_a_training_killed_on_jax_goes_on_to_the_same_weights() -> None:
    assert found("jax")["resumed"] is True


def test_bfloat16_recomputed_is_nearly_the_same_on_jax() -> None:
    assert 0 < found("jax")["bfloat16"] < 0.05


def test_fused_attention_is_our_attention() -> None:
    assert found("jax")["attention"] < 1e-6


def test_the_loss_in_chunks_and_its_gradients_are_those_of_the_whole() -> None:
    assert found("jax")["chunked_loss"] < 1e-5


def test_recomputing_takes_less_memory_on_jax() -> None:
    assert found("jax")["memory"]["recomputed"] < 0.5


def test_the_estimate_is_near_what_jax_plans_to_take() -> None:
    for share in ("layers", "words"):
        assert 0.8 < found("jax")["memory"][share] < 1.2
