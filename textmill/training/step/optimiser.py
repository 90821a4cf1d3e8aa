"""AdamW (Loshchilov and Hutter 2019) with clipping, and dynamic loss scaling (Micikevicius et al. 2018) for float16.

It is a function of the Keras backend's tensors: a state and gradients in, the next state out. A state holds, by name,
`weight/PATH`, `moment_1/PATH` and `moment_2/PATH` of each trained variable and, with loss scaling, two scalars.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.settings.training import Train

from keras import ops  # isort: skip

Tensor = Any  # of the Keras backend
State = Mapping[str, Tensor]

WEIGHT, MOMENT_1, MOMENT_2 = "weight/", "moment_1/", "moment_2/"
LOSS_SCALE, GOOD_STEPS = "loss_scale", "good_steps"

_BETA_1 = 0.9
_EPSILON = 1e-8
_NOT_DECAYED = ("bias", "gamma", "beta")  # how the paths of vectors end
_FIRST_LOSS_SCALE = 2.0**15
_GOOD_STEPS = 1000  # without overflow, after which the scale is doubled
_LARGEST_LOSS_SCALE = 2.0**24


class AdamW:
    """One step's arithmetic."""

    def __init__(self, settings: Train) -> None:
        self._beta_2 = settings.beta_2
        self._weight_decay = settings.weight_decay
        self._clip_norm = settings.clip_norm
        self._scaling = settings.precision == "float16"

    def first_scalars(self) -> dict[str, NDArray[np.float32]]:
        """What a state holds besides weights and moments, before the first step."""
        if not self._scaling:
            return {}
        return {LOSS_SCALE: np.array(_FIRST_LOSS_SCALE, np.float32), GOOD_STEPS: np.array(0, np.float32)}

    def rates(self, step: int, learning_rate: float) -> NDArray[np.float32]:
        """What of a step, counted from 0, is not in the state: its learning rate and the moments' corrections."""
        corrections = [1 / (1 - beta ** (step + 1)) for beta in (_BETA_1, self._beta_2)]
        return np.array([learning_rate, *corrections], np.float32)

    def updated(self, state: State, gradients: Mapping[str, Tensor], rates: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The next state, and the gradients' global norm.

        With loss scaling the gradients are the scaled loss's. Where they overflow, weights and moments stay as they are
        and the norm is 0, or not a number where there is no scale left to halve.
        """
        if self._scaling:
            gradients = {path: gradient / state[LOSS_SCALE] for path, gradient in gradients.items()}
        norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients.values()))
        scale = self._clip_norm / ops.maximum(norm, self._clip_norm)
        found: dict[str, Tensor] = {}
        for path, gradient in gradients.items():
            found |= self._moved(state, path, gradient * scale, rates)
        return self._unless_overflow(state, found, norm) if self._scaling else (found, norm)

    def _moved(self, state: State, path: str, gradient: Tensor, rates: Tensor) -> dict[str, Tensor]:
        rate, correction_1, correction_2 = rates[0], rates[1], rates[2]
        weight = state[WEIGHT + path]
        first = _BETA_1 * state[MOMENT_1 + path] + (1 - _BETA_1) * gradient
        second = self._beta_2 * state[MOMENT_2 + path] + (1 - self._beta_2) * ops.square(gradient)
        change = first * correction_1 / (ops.sqrt(second * correction_2) + _EPSILON)
        if not path.endswith(_NOT_DECAYED):
            change = change + self._weight_decay * weight
        return {WEIGHT + path: weight - rate * change, MOMENT_1 + path: first, MOMENT_2 + path: second}

    def _unless_overflow(self, state: State, found: State, norm: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        finite = ops.isfinite(norm)
        kept = {name: ops.where(finite, value, state[name]) for name, value in found.items()}
        good = state[GOOD_STEPS] + 1
        grow = good >= _GOOD_STEPS
        larger = ops.minimum(ops.where(grow, state[LOSS_SCALE] * 2, state[LOSS_SCALE]), _LARGEST_LOSS_SCALE)
        kept[LOSS_SCALE] = ops.where(finite, larger, state[LOSS_SCALE] / 2)
        kept[GOOD_STEPS] = ops.where(finite & ~grow, good, 0.0)
        exhausted = ops.where(state[LOSS_SCALE] < 1, np.float32(np.nan), np.float32(0))
        return kept, ops.where(finite, norm, exhausted)
