"""Trains on one CPU device and on four, on the backend given, and prints what each came to as JSON.

A process of its own: backend and devices are chosen before anything starts.
"""

# ruff: noqa: E402
import json
import os
import sys

from textmill.gpt2 import backend

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
backend.choose(sys.argv[1])
if sys.argv[1] == "tensorflow":
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)

import numpy as np

from textmill.errors import UserError
from textmill.gpt2 import model as gpt2
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.training_step import TrainingStep
from textmill.settings import Train

TINY = Architecture(vocabulary=50, window=8, layers=1, heads=2, width=16)
ROWS = np.random.default_rng(1).integers(0, TINY.vocabulary, (16, 9)).astype(np.int32)
INPUTS, TARGETS = ROWS[:, :-1], ROWS[:, 1:]


def trained(devices: int, **settings: object) -> TrainingStep:
    recipe = Train(steps=3, warmup_steps=0, learning_rate=1e-2, dropout=0.2, devices=devices, **settings)
    step = TrainingStep(gpt2.build(TINY), recipe)
    for number in range(3):
        figures.append([float(each) for each in step.train(number, INPUTS, TARGETS)])
    return step


def compared(**settings: object) -> dict[str, float]:
    """The largest differences between one device and four."""
    figures.clear()
    one, four = (trained(devices, **settings) for devices in (1, 4))
    left, right = one.weights(), four.weights()
    odd = [(INPUTS[:3], TARGETS[:3], np.ones((3, 8), np.float32))]
    tokens, last = INPUTS[:2], np.array([3, 12], np.int32)
    return {
        "loss_and_norm": float(np.abs(np.subtract(figures[:3], figures[3:])).max()),
        "weights": max(float(np.abs(left[name] - right[name]).max()) for name in left),
        "moved": max(
            float(np.abs(left[name] - value).max()) for name, value in gpt2.weights_of(gpt2.build(TINY)).items()
        ),
        "held_out": abs(one.held_out_loss(odd) - four.held_out_loss(odd)),
        "next_logits": float(np.abs(one.next_logits(tokens, last) - four.next_logits(tokens, last)).max()),
        "restored": float(restored_differently(four, settings)),
    }


def restored_differently(four: TrainingStep, settings: dict[str, object]) -> bool:
    """Whether a step after `restore` differs in a bit from the same step without it."""
    state = four.state()
    four.train(3, INPUTS, TARGETS)
    expected = four.state()
    four.restore(state)
    four.train(3, INPUTS, TARGETS)
    return any(expected[name].tobytes() != value.tobytes() for name, value in four.state().items())


def refusal(devices: int, rows: int) -> str:
    try:
        TrainingStep(gpt2.build(TINY), Train(devices=devices)).train(0, INPUTS[:rows], TARGETS[:rows])
    except UserError as error:
        return str(error)
    return ""


figures: list[list[float]] = []
found = {
    "full": compared(accumulate=2, recompute=True),
    "low_rank": compared(lora_rank=2, precision="float16"),
    "odd_batch": refusal(4, 6),
    "too_many": refusal(5, 4),
}
print(json.dumps(found))
