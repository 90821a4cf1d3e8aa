"""A training step compiled by XLA for TensorFlow, on one device."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2 import backend
from textmill.gpt2 import model as gpt2
from textmill.gpt2.optimiser import LOSS_SCALE, MOMENT_1, MOMENT_2, WEIGHT, AdamW
from textmill.settings import Train

import keras  # isort: skip
import tensorflow as tf  # isort: skip

Tensors = dict[str, Any]  # by the variables' paths


def devices(wanted: int | str) -> list[str]:
    """The devices to train on: GPUs or, where there are none, CPUs.

    Raises:
        UserError: there are not so many.
    """
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found[: backend.device_count(wanted, len(found))]]


class Pass:
    """The forward and the backward pass."""

    def __init__(self, model: keras.Model, settings: Train) -> None:
        self._model = model
        self._settings = settings
        self._variables = {variable.path: variable for variable in model.weights}
        self._trained = [variable.path for variable in model.trainable_variables]

    def gradients(
        self, values: Tensors, inputs: Any, targets: Any, key: Any, scale: Any = None, parts: Any = None
    ) -> tuple[Any, Tensors]:
        """The mean loss over (passes, rows, window), and its gradients by the trained variables, times `scale`.

        `values` stand in for the variables. `parts` numbers each pass's rows among all equal parts of the batch.
        """
        passes = inputs.shape[0]
        if passes == 1:
            return self._one(values, inputs[0], targets[0], key, scale, None if parts is None else parts[0])
        if parts is None:
            parts = tf.constant(np.arange(passes, dtype=np.uint32))

        def add(number: Any, loss: Any, sums: list[Any]) -> tuple[Any, Any, list[Any]]:
            more, found = self._one(values, inputs[number], targets[number], key, scale, parts[number])
            return number + 1, loss + more, [each + found[path] for path, each in zip(self._trained, sums, strict=True)]

        zeros = [tf.zeros_like(values[path]) for path in self._trained]
        # a loop, not its unrolled steps: these would hold all passes' activations at once
        _, loss, sums = tf.while_loop(lambda number, *_: number < passes, add, (0, tf.constant(0.0), zeros))
        means = (each / passes for each in sums)
        return loss / passes, dict(zip(self._trained, means, strict=True))

    def _one(self, values: Tensors, inputs: Any, targets: Any, key: Any, scale: Any, part: Any) -> tuple[Any, Tensors]:
        settings = self._settings
        trained = [values[path] for path in self._trained]
        with tf.GradientTape() as tape:
            tape.watch(trained)
            dropout = gpt2.Dropout(settings.dropout, key, part)
            loss = tf.reduce_mean(self.losses(values, inputs, targets, dropout, settings.recompute))
            scaled = loss if scale is None else loss * scale
        found = tape.gradient(scaled, trained)
        # the embedding's gradient comes as slices to be added up
        return loss, dict(zip(self._trained, map(tf.convert_to_tensor, found), strict=True))

    def losses(
        self, values: Tensors, inputs: Any, targets: Any, dropout: gpt2.Dropout | None = None, recompute: bool = False
    ) -> Any:
        """Each token's loss in nats, shape (rows * window,)."""
        compute = self._settings.precision
        with self.standing_in(values):
            logits = gpt2.project(self._model, gpt2.hidden(self._model, inputs, dropout, compute, recompute), compute)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(targets, [-1]), logits)

    def standing_in(self, values: Tensors) -> keras.StatelessScope:
        """The scope in which the model's variables have these values."""
        return keras.StatelessScope(state_mapping=[(self._variables[path], each) for path, each in values.items()])


class TensorFlowStep:
    """A step on one device, compiled as a whole."""

    devices = 1

    def __init__(self, model: keras.Model, settings: Train, optimiser: AdamW) -> None:
        self._model = model
        self._settings = settings
        self._optimiser = optimiser
        self._pass = Pass(model, settings)
        self._trained = {variable.path: variable.value for variable in model.trainable_variables}
        self._state = self._first_state()
        self._train = compiled(self._step)
        self._judge = compiled(self._judged)
        self._next = compiled(self._next_logits)

    def _first_state(self) -> dict[str, tf.Variable]:
        state = {WEIGHT + path: variable for path, variable in self._trained.items()}
        for kind in (MOMENT_1, MOMENT_2):
            state |= {kind + path: tf.Variable(tf.zeros_like(value)) for path, value in self._trained.items()}
        return state | {name: tf.Variable(value) for name, value in self._optimiser.first_scalars().items()}

    def state(self) -> dict[str, np.ndarray]:
        return {name: variable.numpy() for name, variable in self._state.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        for name, variable in self._state.items():
            variable.assign(state[name])

    def train(
        self, inputs: np.ndarray, targets: np.ndarray, rates: NDArray[np.float32], key: np.uint32
    ) -> tuple[float, float]:
        loss, norm = self._train(tf.constant(inputs), tf.constant(targets), tf.constant(rates), tf.constant(key))
        return float(loss), float(norm)

    def judge(self, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        return float(self._judge(tf.constant(inputs[0]), tf.constant(targets[0]), tf.constant(weights[0])))

    def next_logits(self, tokens: NDArray[np.int32], last: NDArray[np.int32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._next(tf.constant(tokens), tf.constant(last)).numpy()
        return found

    def _step(self, inputs: Any, targets: Any, rates: Any, key: Any) -> tuple[Any, Any]:
        state = {name: tf.convert_to_tensor(variable) for name, variable in self._state.items()}
        values = {path: state[WEIGHT + path] for path in self._trained}
        loss, gradients = self._pass.gradients(values, inputs, targets, key, state.get(LOSS_SCALE))
        found, norm = self._optimiser.updated(state, gradients, rates)
        for name, value in found.items():
            self._state[name].assign(value)
        return loss, norm

    def _judged(self, inputs: Any, targets: Any, weights: Any) -> Any:
        return tf.reduce_sum(self._pass.losses({}, inputs, targets) * tf.reshape(weights, [-1]))

    def _next_logits(self, tokens: Any, last: Any) -> Any:
        compute = self._settings.precision
        states = gpt2.hidden(self._model, tokens, compute=compute)
        return gpt2.project(self._model, tf.gather(states, last), compute)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, jit_compile=True, autograph=False)
