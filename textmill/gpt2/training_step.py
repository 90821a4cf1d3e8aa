"""One step of training, compiled: loss, gradients, clipping, AdamW; and the loss on held-out text."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from textmill.gpt2 import model as gpt2  # before TensorFlow and Keras: it chooses the backend
from textmill.gpt2.weights import Weights
from textmill.settings import Train

import keras  # isort: skip
import tensorflow as tf  # isort: skip

_BETA_1 = 0.9
_EPSILON = 1e-8
_NOT_DECAYED = ("bias", "gamma", "beta")  # how the paths of vectors end


def learning_rate(settings: Train, step: int) -> float:
    """The rate of a step, counted from 0: it rises linearly, then falls along half a cosine to its final value."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    fall = (settings.learning_rate - settings.final_learning_rate) * (1 + math.cos(math.pi * min(done, 1))) / 2
    return settings.final_learning_rate + fall


class TrainingStep:
    """A model with its optimiser, AdamW (Loshchilov and Hutter 2019), as functions compiled by XLA."""

    def __init__(self, model: keras.Model, settings: Train) -> None:
        self._model = model
        self._settings = settings
        self.variables: dict[str, tf.Variable] = {v.path: v.value for v in model.trainable_variables}
        self.moments_1 = {path: tf.Variable(tf.zeros_like(v)) for path, v in self.variables.items()}
        self.moments_2 = {path: tf.Variable(tf.zeros_like(v)) for path, v in self.variables.items()}
        self._train = tf.function(self._trained, jit_compile=True, autograph=False)
        self._judge = tf.function(self._judged, jit_compile=True, autograph=False)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next step depends on besides its number, by name."""
        return {name: variable.numpy() for name, variable in self._state().items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up a state that `state` returned."""
        for name, variable in self._state().items():
            variable.assign(state[name])

    def weights(self) -> Weights:
        """The model's weights as they stand, in Hugging Face's names and layouts."""
        return gpt2.weights_of(self._model)

    def _state(self) -> dict[str, tf.Variable]:
        kinds = {"weight": self.variables, "moment_1": self.moments_1, "moment_2": self.moments_2}
        return {f"{kind}/{path}": variable for kind, each in kinds.items() for path, variable in each.items()}

    def train(self, step: int, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
        """Take one step, counted from 0, on int32 (batch, window); returns its loss in nats and its gradients' norm.

        What it does depends on nothing but the weights, the moments and the arguments.
        """
        rates = np.array(
            [
                learning_rate(self._settings, step),
                1 / (1 - _BETA_1 ** (step + 1)),
                1 / (1 - self._settings.beta_2 ** (step + 1)),
            ],
            np.float32,
        )
        key = np.random.SeedSequence([self._settings.seed, step]).generate_state(1)[0]
        loss, norm = self._train(tf.constant(inputs), tf.constant(targets), tf.constant(rates), tf.constant(key))
        return float(loss), float(norm)

    def held_out_loss(self, batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
        """Nats per token over batches of inputs, targets and weights, each (batch, window)."""
        total = count = 0.0
        for inputs, targets, weights in batches:
            total += float(self._judge(tf.constant(inputs), tf.constant(targets), tf.constant(weights)))
            count += float(weights.sum())
        return total / count

    def _trained(self, inputs: Any, targets: Any, rates: Any, key: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            dropout = gpt2.Dropout(self._settings.dropout, key)
            loss = tf.reduce_mean(self._losses(inputs, targets, dropout))
        found = tape.gradient(loss, list(self.variables.values()))
        # the embedding's gradient comes as slices to be added up
        gradients = dict(zip(self.variables, map(tf.convert_to_tensor, found), strict=True))
        norm = tf.linalg.global_norm(list(gradients.values()))
        scale = self._settings.clip_norm / tf.maximum(norm, self._settings.clip_norm)
        for path, gradient in gradients.items():
            self._update(path, gradient * scale, rates)
        return loss, norm

    def _update(self, path: str, gradient: Any, rates: Any) -> None:
        rate, correction_1, correction_2 = tf.unstack(rates)
        beta_2 = self._settings.beta_2
        moment_1, moment_2, variable = self.moments_1[path], self.moments_2[path], self.variables[path]
        first = _BETA_1 * moment_1 + (1 - _BETA_1) * gradient
        second = beta_2 * moment_2 + (1 - beta_2) * tf.square(gradient)
        change = first * correction_1 / (tf.sqrt(second * correction_2) + _EPSILON)
        if not path.endswith(_NOT_DECAYED):
            change += self._settings.weight_decay * variable
        moment_1.assign(first)
        moment_2.assign(second)
        variable.assign_sub(rate * change)

    def _judged(self, inputs: Any, targets: Any, weights: Any) -> Any:
        return tf.reduce_sum(self._losses(inputs, targets) * tf.reshape(weights, [-1]))

    def _losses(self, inputs: Any, targets: Any, dropout: gpt2.Dropout | None = None) -> Any:
        """Each token's loss in nats, shape (batch * window,)."""
        logits = gpt2.project(self._model, gpt2.hidden(self._model, inputs, dropout))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(targets, [-1]), logits)
