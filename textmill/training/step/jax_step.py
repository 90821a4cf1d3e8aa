"""A training step compiled by JAX, on one device or on several (Keras's DataParallel)."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from numpy.typing import NDArray

from textmill.settings.training import Train
from textmill.training.step import backend, forward, jax_loss
from textmill.training.step.optimiser import AVERAGE, LOSS_SCALE, WEIGHT, Optimiser

import keras  # isort: skip

Arrays = dict[str, Any]  # of JAX, by name


class JaxStep:
    """A step as a function from state to state. It reuses the old state's memory."""

    def __init__(self, model: keras.Model, settings: Train, optimiser: Optimiser) -> None:
        self._variables = {variable.path: variable for variable in model.weights}
        self._trained = [variable.path for variable in model.trainable_variables]
        self._place = _Placement(settings.devices)
        self.devices = self._place.count
        for variable in self._variables.values():
            variable._value = self._place.replicated(variable.value)
        self._state = {name: self._place.replicated(value) for name, value in self._first_state(optimiser).items()}
        self._frozen = {path: v.value for path, v in self._variables.items() if path not in self._trained}
        functions = _Functions(model, settings, optimiser)
        self._train = jax.jit(functions.step, donate_argnums=0)
        self._judge = jax.jit(functions.judged)
        self._next = jax.jit(functions.next_logits)

    def _first_state(self, optimiser: Optimiser) -> Arrays:
        # copies: a step gives the memory of its former state away, and the caller may hold the variables' first values
        values = {path: jnp.array(self._variables[path].value) for path in self._trained}
        state = {WEIGHT + path: value for path, value in values.items()}
        for name, path in optimiser.names(self._trained).items():
            state[name] = jnp.array(values[path]) if name.startswith(AVERAGE) else jnp.zeros_like(values[path])
        return state | optimiser.first_scalars()

    def state(self) -> dict[str, np.ndarray]:
        # copies: on a CPU the arrays would be views of memory that the next step overwrites
        return {name: np.array(value) for name, value in self._state.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._take({name: self._place.replicated(jnp.array(state[name])) for name in self._state})

    def averages(self) -> Arrays:
        return {name.removeprefix(AVERAGE): each for name, each in self._state.items() if name.startswith(AVERAGE)}

    def train(
        self, inputs: np.ndarray, targets: np.ndarray, rates: NDArray[np.float32], key: np.uint32
    ) -> tuple[float, float]:
        rows = (self._place.shared(inputs), self._place.shared(targets))
        state, loss, norm = self._train(self._state, self._frozen, *rows, rates, key)
        self._take(state)
        return float(loss), float(norm)

    def judge(self, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        return float(self._judge(self._judged(), *map(self._place.shared, (inputs, targets, weights))))

    def next_logits(self, tokens: NDArray[np.int32], last: NDArray[np.int32]) -> NDArray[np.float32]:
        return np.array(self._next(self._judged(), tokens, last))

    def _take(self, state: Arrays) -> None:
        """Set the state and the model's weights. The old ones must not be read any more."""
        self._state = state
        for path in self._trained:
            self._variables[path]._value = state[WEIGHT + path]

    def _values(self) -> Arrays:
        return self._frozen | {path: self._state[WEIGHT + path] for path in self._trained}

    def _judged(self) -> Arrays:
        return self._values() | self.averages()


class _Functions:
    """A step's computations, as pure functions of arrays."""

    def __init__(self, model: keras.Model, settings: Train, optimiser: Optimiser) -> None:
        self._model = model
        self._settings = settings
        self._optimiser = optimiser
        self._variables = {variable.path: variable for variable in model.weights}
        self._trained = [variable.path for variable in model.trainable_variables]

    def step(
        self, state: Arrays, frozen: Arrays, inputs: Any, targets: Any, rates: Any, key: Any
    ) -> tuple[Arrays, Any, Any]:
        """The next state, the loss and the gradients' norm."""
        loss, gradients = self._gradients(state, frozen, inputs, targets, key)
        found, norm = self._optimiser.updated(state, gradients, rates)
        return found, loss, norm

    def _gradients(self, state: Arrays, frozen: Arrays, inputs: Any, targets: Any, key: Any) -> tuple[Any, Arrays]:
        """The mean loss over (passes, rows, window), and its gradients, times the loss scale."""
        values = {path: state[WEIGHT + path] for path in self._trained}
        scale = state.get(LOSS_SCALE, 1.0)
        one = jax.value_and_grad(self._scaled_loss, has_aux=True)
        passes = len(inputs)
        if passes == 1:
            (_, loss), gradients = one(values, frozen, inputs[0], targets[0], key, scale, None)
            return loss, gradients

        def add(sums: Any, rows: Any) -> tuple[Any, None]:
            (_, loss), gradients = one(values, frozen, *rows[:2], key, scale, rows[2])
            return jax.tree.map(jnp.add, sums, (loss, gradients)), None

        zeros = (jnp.float32(0), jax.tree.map(jnp.zeros_like, values))
        sums, _ = jax.lax.scan(add, zeros, (inputs, targets, jnp.arange(passes, dtype=jnp.uint32)))
        mean: tuple[Any, Arrays] = jax.tree.map(lambda each: each / passes, sums)
        return mean

    def _scaled_loss(
        self, values: Arrays, frozen: Arrays, inputs: Any, targets: Any, key: Any, scale: Any, part: Any
    ) -> tuple[Any, Any]:
        settings = self._settings
        dropout = forward.Dropout(settings.dropout, key, part)
        with self._standing_in(values | frozen):
            states = forward.hidden(self._model, inputs, dropout, settings.precision, settings.recompute)
            loss = jax_loss.mean_loss(states, self._embeddings(), targets.reshape(-1), settings.precision)
        return loss * scale, loss

    def judged(self, values: Arrays, inputs: Any, targets: Any, weights: Any) -> Any:
        """The weighted sum of losses."""
        compute = self._settings.precision
        with self._standing_in(values):
            states = forward.hidden(self._model, inputs[0], compute=compute)
            losses = jax_loss.losses(states, self._embeddings(), targets.reshape(-1), compute)
        return jnp.sum(losses * weights.reshape(-1))

    def next_logits(self, values: Arrays, tokens: Any, last: Any) -> Any:
        """As TrainingStep's."""
        compute = self._settings.precision
        with self._standing_in(values):
            states = forward.hidden(self._model, tokens, compute=compute)[last]
            return forward.project(self._model, states, compute)

    def _embeddings(self) -> Any:
        """The current token embeddings, float32 (vocabulary, width)."""
        return keras.ops.convert_to_tensor(self._model.backbone.token_embedding.embeddings)

    def _standing_in(self, values: Arrays) -> keras.StatelessScope:
        """Context manager: the model's variables have these values."""
        return keras.StatelessScope(state_mapping=[(self._variables[path], each) for path, each in values.items()])


class _Placement:
    """The placement of arrays: on one device, or on several."""

    def __init__(self, wanted: int | str) -> None:
        names = keras.distribution.list_devices()
        self.count = backend.device_count(wanted, len(names))
        self._parallel = None
        if self.count > 1:
            self._parallel = keras.distribution.DataParallel(devices=names[: self.count], auto_shard_dataset=False)

    def replicated(self, value: Any) -> Any:
        """A whole copy on each device."""
        if self._parallel is None:
            return jnp.asarray(value)
        layout = keras.distribution.TensorLayout([None] * np.ndim(value), self._parallel.device_mesh)
        return keras.distribution.distribute_tensor(jnp.asarray(value), layout)

    def shared(self, rows: np.ndarray) -> Any:
        """(passes, rows, window): each device gets an equal part of each pass's rows."""
        if self._parallel is None:
            return jnp.asarray(rows)
        axes = [None, self._parallel.batch_dim_name, None]
        layout = keras.distribution.TensorLayout(axes, self._parallel.device_mesh)
        return keras.distribution.distribute_tensor(jnp.asarray(rows), layout)
