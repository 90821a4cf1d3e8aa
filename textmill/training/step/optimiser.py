"""AdamW, or Muon with AdamW; gradient clipping, and loss scaling for float16.

AdamW: Loshchilov and Hutter 2019; loss scaling: Micikevicius et al. 2018. The optimiser is a pure function of the Keras
backend's tensors: from state and gradients to the next state. A state has `weight/PATH` and `moment_1/PATH` of each
trained variable, `moment_2/PATH` of AdamW's, with averaging `average/PATH`, and with loss scaling two scalars.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.settings.training import Train
from textmill.training.step import muon

from keras import ops  # isort: skip

Tensor = Any  # of the Keras backend
State = Mapping[str, Tensor]

WEIGHT, MOMENT_1, MOMENT_2, AVERAGE = "weight/", "moment_1/", "moment_2/", "average/"
LOSS_SCALE, GOOD_STEPS = "loss_scale", "good_steps"

_BETA_1 = 0.9
_EPSILON = 1e-8
_NOT_DECAYED = ("bias", "gamma", "beta")  # how the paths of vectors end
_EMBEDDINGS = "embeddings"  # how those of tokens and positions end
# what `rates` returns, in this order
_RATE, _EMBEDDING_RATE, _MUON_RATE, _CORRECTION_1, _CORRECTION_2, _MUON_MOMENTUM, _NEW_SHARE = range(7)
_FIRST_LOSS_SCALE = 2.0**15
_GOOD_STEPS = 1000  # without overflow, after which the scale is doubled
_LARGEST_LOSS_SCALE = 2.0**24


class Optimiser:
    """The arithmetic of one optimiser step."""

    def __init__(self, settings: Train) -> None:
        """Create it. `auto` must be resolved before."""
        assert settings.optimiser != "auto"
        self._settings = settings
        self._muon = settings.optimiser == "muon"
        self._averages = settings.average > 0
        self._beta_2 = settings.beta_2
        self._weight_decay = settings.weight_decay
        self._clip_norm = settings.clip_norm
        self._scaling = settings.precision == "float16"

    def names(self, paths: Iterable[str]) -> dict[str, str]:
        """A state's tensors besides weights and scalars, with the path of the variable of the same shape.

        Averages start as the weights, all others as zeros.
        """
        found: dict[str, str] = {}
        for path in paths:
            found[MOMENT_1 + path] = path
            if not self._by_muon(path):
                found[MOMENT_2 + path] = path
            if self._averages:
                found[AVERAGE + path] = path
        return found

    def first_scalars(self) -> dict[str, NDArray[np.float32]]:
        """A state's initial values besides weights and moments."""
        if not self._scaling:
            return {}
        return {LOSS_SCALE: np.array(_FIRST_LOSS_SCALE, np.float32), GOOD_STEPS: np.array(0, np.float32)}

    def rates(self, step: int, share: float) -> NDArray[np.float32]:
        """A step's values outside the state: learning rates, bias corrections, momentum. Steps count from 0.

        Args:
            share: fraction of the peak learning rates.
        """
        rates = [share * rate for rate in self._settings.peak_rates]
        corrections = [1 / (1 - beta ** (step + 1)) for beta in (_BETA_1, self._beta_2)]
        # an average of the weights alone, not of the zeros before them, as Adam corrects its moments
        decay = self._settings.average
        new = (1 - decay) / (1 - decay ** (step + 1))
        return np.array([*rates, *corrections, muon.momentum(step), new], np.float32)

    def updated(self, state: State, gradients: Mapping[str, Tensor], rates: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The next state, and the gradients' global norm.

        With loss scaling, the gradients are those of the scaled loss. On overflow, weights and moments do not change and
        the norm is 0, or NaN if the scale cannot be halved further.
        """
        if self._scaling:
            gradients = {path: gradient / state[LOSS_SCALE] for path, gradient in gradients.items()}
        norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients.values()))
        scale = self._clip_norm / ops.maximum(norm, self._clip_norm)
        found: dict[str, Tensor] = {}
        clipped = {path: gradient * scale for path, gradient in gradients.items()}
        by_muon = {path: clipped.pop(path) for path in gradients if self._by_muon(path)}
        for path, gradient in clipped.items():
            found |= self._moved(state, path, gradient, rates)
        found |= self._moved_by_muon(state, by_muon, rates)
        if self._averages:
            for path in gradients:
                average = state[AVERAGE + path]
                found[AVERAGE + path] = average + rates[_NEW_SHARE] * (found[WEIGHT + path] - average)
        return self._unless_overflow(state, found, norm) if self._scaling else (found, norm)

    def _moved(self, state: State, path: str, gradient: Tensor, rates: Tensor) -> dict[str, Tensor]:
        rate = rates[_EMBEDDING_RATE if path.endswith(_EMBEDDINGS) else _RATE]
        weight = state[WEIGHT + path]
        first = _BETA_1 * state[MOMENT_1 + path] + (1 - _BETA_1) * gradient
        second = self._beta_2 * state[MOMENT_2 + path] + (1 - self._beta_2) * ops.square(gradient)
        change = first * rates[_CORRECTION_1] / (ops.sqrt(second * rates[_CORRECTION_2]) + _EPSILON)
        if not path.endswith(_NOT_DECAYED):
            change = change + self._weight_decay * weight
        return {WEIGHT + path: weight - rate * change, MOMENT_1 + path: first, MOMENT_2 + path: second}

    def _moved_by_muon(self, state: State, gradients: Mapping[str, Tensor], rates: Tensor) -> dict[str, Tensor]:
        rate, momentum = rates[_MUON_RATE], rates[_MUON_MOMENTUM]
        found: dict[str, Tensor] = {}
        updates: dict[str, Tensor] = {}
        for path, gradient in gradients.items():
            found[MOMENT_1 + path] = first = momentum * state[MOMENT_1 + path] + (1 - momentum) * gradient
            updates[path] = momentum * first + (1 - momentum) * gradient  # Nesterov's
        for path, direction in muon.directions(updates, self._settings.precision).items():
            weight = state[WEIGHT + path]
            found[WEIGHT + path] = weight - rate * (direction + self._weight_decay * weight)
        return found

    def _by_muon(self, path: str) -> bool:
        return self._muon and muon.takes(path)

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
