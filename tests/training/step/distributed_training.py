"""Trains on one CPU device and on several, on the backend given, and prints what each came to as JSON.

A process of its own: backend and devices are chosen before anything starts.
"""

# ruff: noqa: E402
import json
import os
import sys

from textmill.training.step import backend

os.environ["CUDA_VISIBLE_DEVICES"] = ""
# what is compiled for each device is compiled fast rather than well
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true"
)
backend.choose(sys.argv[1])
if sys.argv[1] == "tensorflow":
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)

import numpy as np

from textmill.gpt2.architecture import Architecture
from textmill.ground.errors import UserError
from textmill.settings.training import Train
from textmill.training.step import keras_model as gpt2
from textmill.training.step.training_step import TrainingStep

TINY = Architecture(vocabulary=50, window=8, layers=1, heads=2, width=16)
ROWS = np.random.default_rng(1).integers(0, TINY.vocabulary, (8, 9)).astype(np.int32)
INPUTS, TARGETS = ROWS[:, :-1], ROWS[:, 1:]


def trained(devices: int, **settings: object) -> TrainingStep:
    recipe = Train(steps=3, warmup_steps=0, learning_rate=1e-2, dropout=0.2, average=0.5, devices=devices, **settings)
    step = TrainingStep(gpt2.build(TINY), recipe)
    figures[step] = [step.train(number, INPUTS, TARGETS) for number in range(2)]
    return step


def compared(one: TrainingStep, other: TrainingStep) -> dict[str, float]:
    """The largest differences between two trainings."""
    left, right, before = one.weights(), other.weights(), gpt2.weights_of(gpt2.build(TINY))
    return {
        "loss_and_norm": float(np.abs(np.subtract(figures[one], figures[other])).max()),
        "weights": max(float(np.abs(left[name] - right[name]).max()) for name in left),
        "moved": max(float(np.abs(left[name] - value).max()) for name, value in before.items()),
        "restored": float(restored_differently(other)),
    }


def restored_differently(step: TrainingStep) -> bool:
    """Whether a step after `restore` differs in a bit from the same step without it."""
    state = step.state()
    step.train(2, INPUTS, TARGETS)
    expected = step.state()
    step.restore(state)
    step.train(2, INPUTS, TARGETS)
    return any(expected[name].tobytes() != value.tobytes() for name, value in step.state().items())


def judged(one: TrainingStep, four: TrainingStep) -> dict[str, float]:
    """The differences of two trainings' held-out losses, on rows that four devices cannot share, and of their logits."""
    odd = [(INPUTS[:3], TARGETS[:3], np.ones((3, 8), np.float32))]
    logits = [step.next_logits(INPUTS[:2], np.array([3, 12], np.int32)) for step in (one, four)]
    return {
        "held_out": abs(one.held_out_loss(odd) - four.held_out_loss(odd)),
        "next_logits": float(np.abs(np.subtract(*logits)).max()),
    }


def overflowed(step: TrainingStep) -> tuple[float, float, bool]:
    """A float16 step's norm and loss scale after it overflowed, and whether its weights stayed."""
    before = step.state() | {"loss_scale": np.float32(2**40)}
    step.restore(before)
    _, norm = step.train(3, INPUTS, TARGETS)
    after = step.state()
    stayed = all(after[name].tobytes() == value.tobytes() for name, value in before.items() if "/" in name)
    return norm, float(after["loss_scale"]), stayed


def refusal(devices: int, rows: int) -> str:
    try:
        TrainingStep(gpt2.build(TINY), Train(devices=devices)).train(0, INPUTS[:rows], TARGETS[:rows])
    except UserError as error:
        return str(error)
    return ""


figures: dict[TrainingStep, list[tuple[float, float]]] = {}  # loss and norm of each step
found: dict[str, object] = {}
if sys.argv[1] == "jax":
    import jax_alone

    found |= {"resumed": jax_alone.resumed()}  # first: it forks, which JAX's threads would not survive
one, four = trained(1), trained(4, accumulate=2)
found |= {"full": judged(one, four) | compared(one, four)}  # in this order: `compared` trains on
if sys.argv[1] == "jax":
    found |= {"accumulated": compared(one, trained(1, accumulate=4))}
    rounded = trained(1, precision="bfloat16", recompute=True)
    found |= {"bfloat16": float(np.abs(np.subtract(figures[one], figures[rounded])).max())}
    found |= {"attention": jax_alone.attention(), "chunked_loss": jax_alone.chunked_loss()}
    found |= {"memory": jax_alone.planned_memory()}
one, two = (trained(devices, lora_rank=2, precision="float16") for devices in (1, 2))
found |= {"low_rank": compared(one, two), "overflowed": overflowed(two)}
found |= {"odd_batch": refusal(4, 6), "too_many": refusal(5, 5)}
print(json.dumps(found))
