"""One step of training: loss, gradients, clipping, optimiser; and the loss on held-out text.

What is compiled is in `training_step_tensorflow` and `training_step_jax`, one of which the Keras backend chooses.
"""

import gc
import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.weights import Weights
from textmill.ground.errors import UserError
from textmill.settings.training import Train
from textmill.training.memory import malloc
from textmill.training.memory.optimiser_choice import optimiser_of
from textmill.training.step import keras_model as gpt2  # before Keras: it chooses the backend
from textmill.training.step.optimiser import Optimiser

import keras  # isort: skip

Rows = NDArray[Any]  # (passes, windows, tokens)


class Compiled(Protocol):
    """The part of a training step that depends on the Keras backend."""

    devices: int

    def train(self, inputs: Rows, targets: Rows, rates: NDArray[np.float32], key: np.uint32) -> tuple[float, float]:
        """Take one step. Returns its loss and its gradients' norm."""

    def judge(self, inputs: Rows, targets: Rows, weights: Rows) -> float:
        """The weighted sum of losses. The arguments have one pass."""

    def next_logits(self, tokens: NDArray[np.int32], last: NDArray[np.int32]) -> NDArray[np.float32]:
        """As TrainingStep's."""

    def state(self) -> dict[str, np.ndarray]:
        """As TrainingStep's."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """As TrainingStep's."""

    def averages(self) -> Mapping[str, Any]:
        """The averages of the trained variables by path; empty if the weights themselves are evaluated."""


def learning_rate(settings: Train, step: int) -> float:
    """The learning rate of a step, counted from 0: linear warmup, then `schedule`'s decay.

    The last step has the final value, unless it is a step of the warmup or the only one.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    linear = settings.schedule == "linear"
    last = settings.steps - 1
    start = max(settings.warmup_steps, settings.decay_from * settings.steps) if linear else settings.warmup_steps
    start = min(start, last - 1)
    done = min(max(0.0, step - start) / max(1, last - start), 1) if last else 0.0
    left = 1 - done if linear else (1 + math.cos(math.pi * done)) / 2
    return settings.last_learning_rate + (settings.learning_rate - settings.last_learning_rate) * left


class TrainingStep:
    """A model with its optimiser, as compiled functions."""

    def __init__(self, model: keras.Model, settings: Train) -> None:
        """Take ownership of the model. Its variables are trained or, with `lora_rank`, LoRA's.

        Raises:
            UserError: this machine has fewer devices than `devices`.
        """
        gc.collect()  # a Keras model stands in cycles: of a former step's, the weights may still be there
        if settings.lora_rank:
            gpt2.add_low_rank(model, settings.lora_rank, settings.lora_alpha or settings.lora_rank, settings.seed)
        assert isinstance(settings.batch, int)
        chosen = optimiser_of(gpt2.architecture_of(model), settings, settings.batch)
        settings = settings.model_copy(update={"optimiser": chosen})
        self._model = model
        self._settings = settings
        self._optimiser = Optimiser(settings)
        self._taken = 0  # steps, by this object
        malloc.give_freed_memory_back()
        self._compiled = _compiled(model, settings, self._optimiser)

    def state(self) -> dict[str, np.ndarray]:
        """The training state by name: all that the next step depends on besides its number and frozen weights."""
        return self._compiled.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore a state returned by `state`."""
        self._compiled.restore(state)

    def weights(self) -> Weights:
        """The weights to evaluate, in Hugging Face's names and layouts: current or averaged, with LoRA merged."""
        averages = self._compiled.averages()
        standing_in = [(each, averages[each.path]) for each in self._model.trainable_variables if averages]
        with keras.StatelessScope(state_mapping=standing_in):
            return gpt2.weights_of(self._model)

    def train(self, step: int, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
        """Take one optimiser step, counted from 0. Returns its loss in nats and its gradients' norm.

        It depends only on the state, frozen weights and the arguments. With float16, a step with overflowing gradients
        is skipped and the norm is 0, or NaN if lower loss scales did not help.

        Args:
            step: determines the learning rate and dropout.
            inputs: int32 (accumulate * batch, window); each pass uses `batch` rows.
            targets: the next tokens, of the same shape.

        Raises:
            UserError: the devices cannot share the batch evenly.
        """
        passes = self._settings.accumulate
        self._check_shares(len(inputs), passes)
        share = learning_rate(self._settings, step) / self._settings.learning_rate
        rates = self._optimiser.rates(step, share)
        key = np.random.SeedSequence([self._settings.seed, step]).generate_state(1)[0]
        shape = (passes, len(inputs) // passes, inputs.shape[1])
        found = self._compiled.train(inputs.reshape(shape), targets.reshape(shape), rates, key)
        self._settle()
        return found

    def _settle(self) -> None:
        """Keep a step's memory in the process, after the first step."""
        self._taken += 1
        if self._taken == 1:
            malloc.keep_freed_memory()

    def held_out_loss(self, batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
        """The mean loss in nats per token over batches of inputs, targets and weights, each (batch, window)."""
        total = count = 0.0
        for batch in batches:
            total += self._compiled.judge(*(self._filled_up(each) for each in batch))
            count += float(batch[2].sum())
        return total / count

    def next_logits(self, tokens: NDArray[np.int32], last: NDArray[np.int32]) -> NDArray[np.float32]:
        """The logits, (texts, vocabulary), after chosen tokens of texts.

        Args:
            tokens: int32 (texts, length), padded at the end with any token.
            last: int32 (texts,), the chosen tokens' positions in the flattened `tokens`.
        """
        return self._compiled.next_logits(tokens, last)

    def _check_shares(self, rows: int, passes: int) -> None:
        devices = self._compiled.devices
        if rows % passes:
            raise UserError(f"train.accumulate is {passes}, which does not divide {rows} windows; set it to a divisor.")
        if rows // passes % devices:
            raise UserError(
                f"train.batch is {rows // passes}, but {devices} devices share it; set it to a multiple of {devices}."
            )

    def _filled_up(self, rows: np.ndarray) -> Rows:
        """One pass of rows, zero-padded so that the devices share it evenly. Padding has weight 0."""
        missing = -len(rows) % self._compiled.devices
        return np.pad(rows, ((0, missing), (0, 0)))[None] if missing else rows[None]


def _compiled(model: keras.Model, settings: Train, optimiser: Optimiser) -> Compiled:
    if keras.config.backend() == "jax":
        from textmill.training.step.jax_step import JaxStep

        return JaxStep(model, settings, optimiser)
    from textmill.training.step.tensorflow_step import TensorFlowStep, devices

    chosen = devices(settings.devices)
    if len(chosen) == 1:
        return TensorFlowStep(model, settings, optimiser)
    from textmill.training.step.mirrored_step import MirroredStep

    return MirroredStep(model, settings, optimiser, chosen)
