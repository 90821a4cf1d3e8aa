"""A training step with TensorFlow on one device, compiled by XLA."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.settings.training import Train
from textmill.training.step import backend, forward
from textmill.training.step import keras_model as gpt2
from textmill.training.step.optimiser import AVERAGE, LOSS_SCALE, WEIGHT, Optimiser

import keras  # isort: skip
import tensorflow as tf  # isort: skip

Tensors = dict[str, Any]  # by the variables' paths

# of Train, all that the compiled functions of a step on one device depend on
_COMPILED = {"accumulate", "beta_2", "clip_norm", "dropout", "precision", "recompute", "weight_decay"}
_COMPILED |= {"average", "lora_alpha", "lora_rank", "optimiser"}
_TRACED: dict[Any, Any] = {}  # these, by what is computed, the model's shape, those settings and the tensors' shapes


def devices(wanted: int | str) -> list[str]:
    """The devices to train on: GPUs, or CPUs if there are none.

    Raises:
        UserError: the machine has fewer devices.
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
        """The mean loss over (passes, rows, window), and its gradients for the trained variables, times `scale`.

        `values` replace the variables. `parts` has the index of each pass's rows among the batch's equal parts.
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
            dropout = forward.Dropout(settings.dropout, key, part)
            loss = tf.reduce_mean(self.losses(values, inputs, targets, dropout, settings.recompute))
            scaled = loss if scale is None else loss * scale
        found = tape.gradient(scaled, trained)
        # the embedding's gradient comes as slices to be added up
        return loss, dict(zip(self._trained, map(tf.convert_to_tensor, found), strict=True))

    def losses(
        self,
        values: Tensors,
        inputs: Any,
        targets: Any,
        dropout: forward.Dropout | None = None,
        recompute: bool = False,
    ) -> Any:
        """Each token's loss in nats, shape (rows * window,)."""
        compute = self._settings.precision
        with self.standing_in(values):
            logits = forward.project(
                self._model, forward.hidden(self._model, inputs, dropout, compute, recompute), compute
            )
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(targets, [-1]), logits)

    def next_logits(self, values: Tensors, tokens: Any, last: Any) -> Any:
        """As TrainingStep's."""
        compute = self._settings.precision
        with self.standing_in(values):
            states = forward.hidden(self._model, tokens, compute=compute)
            return forward.project(self._model, tf.gather(states, last), compute)

    def standing_in(self, values: Tensors) -> keras.StatelessScope:
        """Context manager: the model's variables have these values."""
        return keras.StatelessScope(state_mapping=[(self._variables[path], each) for path, each in values.items()])


class TensorFlowStep:
    """A step on one device, compiled as a whole."""

    devices = 1

    def __init__(self, model: keras.Model, settings: Train, optimiser: Optimiser) -> None:
        self._functions = _Functions(model, settings)
        self._weights = {WEIGHT + variable.path: variable.value for variable in model.weights}
        self._state = self._first_state(model, optimiser)
        self._judged = self._weights | {WEIGHT + path: each for path, each in averages_of(self._state).items()}

    def _first_state(self, model: keras.Model, optimiser: Optimiser) -> dict[str, tf.Variable]:
        trained = {variable.path: variable.value for variable in model.trainable_variables}
        state = {WEIGHT + path: variable for path, variable in trained.items()}
        for name, path in optimiser.names(trained).items():
            value = trained[path] if name.startswith(AVERAGE) else tf.zeros_like(trained[path])
            state[name] = tf.Variable(value)
        return state | {name: tf.Variable(value) for name, value in optimiser.first_scalars().items()}

    def state(self) -> dict[str, np.ndarray]:
        return {name: variable.numpy() for name, variable in self._state.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        for name, variable in self._state.items():
            variable.assign(state[name])

    def averages(self) -> Tensors:
        return averages_of(self._state)

    def train(
        self, inputs: np.ndarray, targets: np.ndarray, rates: NDArray[np.float32], key: np.uint32
    ) -> tuple[float, float]:
        loss, norm = self._call("step", inputs, targets, rates, key)
        return float(loss), float(norm)

    def judge(self, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        return float(self._call("judged", inputs[0], targets[0], weights[0])[0])

    def next_logits(self, tokens: NDArray[np.int32], last: NDArray[np.int32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._call("next_logits", tokens, last)[0].numpy()
        return found

    def _call(self, name: str, *arrays: Any) -> Sequence[Any]:
        variables = self._weights | self._state if name == "step" else self._judged
        return self._functions.call(name, variables, [tf.constant(each) for each in arrays])


class _Functions:
    """A step's computations as functions of its variables, shared by equal steps of a process.

    XLA keeps compiled code until the process exits, about 25 MB per function.
    """

    def __init__(self, model: keras.Model, settings: Train) -> None:
        chosen = settings.model_dump(include=_COMPILED)
        self._model = model
        # no other setting can be read here: those functions are shared by steps that differ in it
        self._settings = Train(**chosen)
        self._pass = Pass(model, self._settings)
        self._optimiser = Optimiser(self._settings)
        self._shared = (gpt2.architecture_of(model), *chosen.values())
        self._found: dict[Any, tuple[Callable[..., Sequence[Any]], list[Any]]] = {}

    def call(self, name: str, variables: Mapping[str, tf.Variable], tensors: list[Any]) -> Sequence[Any]:
        """Call the function of this name. `step` changes the variables."""
        called = (name, *((each.shape, each.dtype) for each in tensors))
        if called not in self._found:
            if (shared := (*called, *self._shared)) not in _TRACED:
                _TRACED[shared] = self._traced(name, variables, tensors)
            # with hundreds of variables, the checks of the usual call take a millisecond
            self._found[called] = (
                _TRACED[shared].inference_fn.call_flat,
                [each.handle for each in variables.values()],
            )
        function, handles = self._found[called]
        return function(*handles, *tensors)

    def _traced(self, name: str, variables: Mapping[str, tf.Variable], tensors: list[Any]) -> Any:
        """A function of handles, not variables: TensorFlow would keep the traced variables in memory."""
        functions: dict[str, Callable[..., tuple[Any, ...]]]
        functions = {"step": self._step, "judged": self._judged, "next_logits": self._next_logits}
        shapes = {each: variable.shape for each, variable in variables.items()}

        def of_handles(handles: list[Any], *tensors: Any) -> Any:
            named = dict(zip(shapes, handles, strict=True))
            values = {each: _read(handle, shapes[each]) for each, handle in named.items()}
            changed, *found = functions[name](values, *tensors)
            for each, value in changed.items():
                tf.raw_ops.AssignVariableOp(resource=named[each], value=value)
            return found

        handles = [tf.TensorSpec((), tf.resource)] * len(variables)
        return compiled(of_handles).get_concrete_function(handles, *map(tf.TensorSpec.from_tensor, tensors))

    def _step(self, values: Tensors, inputs: Any, targets: Any, rates: Any, key: Any) -> tuple[Tensors, Any, Any]:
        scale = values.get(LOSS_SCALE)
        loss, gradients = self._pass.gradients(_weights(values), inputs, targets, key, scale)
        changed, norm = self._optimiser.updated(values, gradients, rates)
        return changed, loss, norm

    def _judged(self, values: Tensors, inputs: Any, targets: Any, weights: Any) -> tuple[Tensors, Any]:
        losses = self._pass.losses(_weights(values), inputs, targets)
        return {}, tf.reduce_sum(losses * tf.reshape(weights, [-1]))

    def _next_logits(self, values: Tensors, tokens: Any, last: Any) -> tuple[Tensors, Any]:
        return {}, self._pass.next_logits(_weights(values), tokens, last)


def _read(handle: Any, shape: Any) -> Any:
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
    value.set_shape(shape)
    return value


def _weights(values: Tensors) -> Tensors:
    """The tensors of a state, by variable path."""
    return {name.removeprefix(WEIGHT): each for name, each in values.items() if name.startswith(WEIGHT)}


def averages_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state's averages, by variable path."""
    return {name.removeprefix(AVERAGE): each for name, each in state.items() if name.startswith(AVERAGE)}


def compiled(function: Callable[..., Any]) -> Any:
    """A tf.function."""
    return tf.function(function, jit_compile=True, autograph=False)
