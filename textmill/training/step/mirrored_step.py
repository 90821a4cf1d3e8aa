"""A training step on several devices with TensorFlow's MirroredStrategy; each has all weights.

Each device computes the gradients of its part of the batch; they are averaged, and all devices take the same step. XLA
compiles gradients and step separately, because it cannot compile the exchange between devices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.settings.training import Train
from textmill.training.step.optimiser import AVERAGE, LOSS_SCALE, WEIGHT, Optimiser
from textmill.training.step.tensorflow_step import Pass, Tensors, averages_of, compiled

import keras  # isort: skip
import tensorflow as tf  # isort: skip


class MirroredStep:
    """A step on several devices."""

    def __init__(self, model: keras.Model, settings: Train, optimiser: Optimiser, devices: Sequence[str]) -> None:
        self.devices = len(devices)
        self._model = model
        self._optimiser = optimiser
        self._strategy = _strategy(devices)
        self._pass = Pass(model, settings)
        self._trained = [variable.path for variable in model.trainable_variables]
        self._weights = self._mirrored_weights()
        self._state = self._first_state()
        self._gradients = compiled(self._pass.gradients)
        self._update = compiled(optimiser.updated)
        self._losses = compiled(self._weighted_loss)
        self._train = tf.function(self._on_all, autograph=False)
        self._judge = tf.function(self._judge_on_all, autograph=False)
        self._next = tf.function(self._next_logits, autograph=False)

    def _mirrored_weights(self) -> dict[str, tf.Variable]:
        """The model's variables, now the mirrored ones."""
        found = {}
        for variable in self._model.weights:
            found[variable.path] = variable._value = self._mirrored(variable.value)
        return found

    def _first_state(self) -> dict[str, tf.Variable]:
        state = {WEIGHT + path: self._weights[path] for path in self._trained}
        for name, path in self._optimiser.names(self._trained).items():
            value = self._weights[path].read_value()
            state[name] = self._mirrored(value if name.startswith(AVERAGE) else tf.zeros_like(value))
        return state | {name: self._mirrored(value) for name, value in self._optimiser.first_scalars().items()}

    def _mirrored(self, value: Any) -> tf.Variable:
        with self._strategy.scope():
            return tf.Variable(value)

    def state(self) -> dict[str, np.ndarray]:
        return {name: variable.numpy() for name, variable in self._state.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        for name, variable in self._state.items():
            variable.assign(state[name])

    def averages(self) -> dict[str, tf.Variable]:
        return averages_of(self._state)

    def train(
        self, inputs: np.ndarray, targets: np.ndarray, rates: NDArray[np.float32], key: np.uint32
    ) -> tuple[float, float]:
        parts = np.arange(len(inputs) * self.devices, dtype=np.uint32).reshape(len(inputs), self.devices)
        shares = [self._shared(each) for each in (inputs, targets, parts)]
        loss, norm = self._train(*shares, tf.constant(rates), tf.constant(key))
        return float(loss), float(norm)

    def judge(self, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        return float(self._judge(*map(self._shared, (inputs, targets, weights))))

    def next_logits(self, tokens: NDArray[np.int32], last: NDArray[np.int32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._next(tf.constant(tokens), tf.constant(last)).numpy()
        return found

    def _shared(self, rows: np.ndarray) -> Any:
        """(passes, rows, ...): each device gets an equal part of each pass's rows."""
        parts = np.split(rows, self.devices, axis=1)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def _on_all(self, inputs: Any, targets: Any, parts: Any, rates: Any, key: Any) -> tuple[Any, Any]:
        found = self._strategy.run(self._on_each, (inputs, targets, parts, rates, key))
        loss, norm = (self._strategy.experimental_local_results(each)[0] for each in found)
        return loss, norm

    def _on_each(self, inputs: Any, targets: Any, parts: Any, rates: Any, key: Any) -> tuple[Any, Any]:
        context = tf.distribute.get_replica_context()
        state = _read(self._state)
        loss, gradients = self._gradients(
            self._values(), inputs, targets, key, state.get(LOSS_SCALE), tf.reshape(parts, [-1])
        )
        loss, *means = context.all_reduce(tf.distribute.ReduceOp.MEAN, [loss, *gradients.values()])
        found, norm = self._update(state, dict(zip(gradients, means, strict=True)), rates)
        context.merge_call(self._assign, (found,))
        return loss, norm

    def _assign(self, strategy: tf.distribute.Strategy, found: Tensors) -> None:
        for name, value in found.items():
            # each device has computed the same
            strategy.extended.update(self._state[name], lambda variable, new: variable.assign(new), (value,))

    def _values(self) -> Tensors:
        return _read(self._weights)

    def _judged(self) -> Tensors:
        return _read(self._weights | self.averages())

    def _judge_on_all(self, inputs: Any, targets: Any, weights: Any) -> Any:
        found = self._strategy.run(lambda *rows: self._losses(self._judged(), *rows), (inputs, targets, weights))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, found, axis=None)

    def _weighted_loss(self, values: Tensors, inputs: Any, targets: Any, weights: Any) -> Any:
        return tf.reduce_sum(self._pass.losses(values, inputs[0], targets[0]) * tf.reshape(weights, [-1]))

    def _next_logits(self, tokens: Any, last: Any) -> Any:
        return self._pass.next_logits(self._judged(), tokens, last)


def _read(variables: Mapping[str, tf.Variable]) -> Tensors:
    """Their values on the current device."""
    return {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}


def _strategy(devices: Sequence[str]) -> tf.distribute.Strategy:
    # its default on CPUs are collective operations, which meet in another order on each device, and then fail
    on_cpus = "CPU" in devices[0]
    return tf.distribute.MirroredStrategy(list(devices), tf.distribute.ReductionToOneDevice() if on_cpus else None)
