"""Contestant: Textmill's own training step, in the environment in which `textmill run` and `textmill train` start it."""

import os
import sys
from collections.abc import Iterator
from typing import Any

from textmill.training.memory import malloc

if not malloc.ENVIRONMENT.items() <= os.environ.items():  # glibc reads it when a process starts
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **malloc.ENVIRONMENT})

from contestant import Tokens, Trainer, arguments

asked = arguments()
os.environ["KERAS_BACKEND"] = asked["train"].get("backend", "tensorflow")  # Keras reads it when it is imported

import numpy as np  # noqa: E402

from textmill.gpt2.architecture import Architecture  # noqa: E402
from textmill.settings.training import Train  # noqa: E402
from textmill.training.step import keras_model as gpt2  # noqa: E402
from textmill.training.step.training_step import TrainingStep  # noqa: E402


class Textmill(Trainer):
    def begin(self, model: dict[str, Any], train: dict[str, Any]) -> None:
        settings = Train.model_validate({"dropout": 0.0, **train})
        self._step = TrainingStep(gpt2.build(Architecture(**model), seed=settings.seed), settings)

    def step(self, number: int, inputs: Tokens, targets: Tokens) -> float:
        return self._step.train(number, inputs, targets)[0]

    def loss(self, batches: Iterator[tuple[Tokens, Tokens]]) -> float:
        return self._step.held_out_loss((x, y, np.ones(x.shape, np.float32)) for x, y in batches)


if __name__ == "__main__":
    Textmill(asked).serve()
