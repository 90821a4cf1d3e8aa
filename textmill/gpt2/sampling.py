"""How the next token is drawn from a model's logits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.errors import TextmillError

_FIRST_CANDIDATES = 256  # usually enough for the nucleus; finding them costs a tenth of sorting 50,257


@dataclass(frozen=True, slots=True)
class Settings:
    """How one text is written. The defaults hold where neither generation.json nor a request says otherwise."""

    max_tokens: int = 400
    temperature: float = 0.8  # 0 takes the likeliest token each time
    top_k: int = 0  # keep this many of the likeliest tokens; 0 keeps all
    top_p: float = 0.95  # keep the likeliest tokens that together have this probability (Holtzman et al. 2020)
    repetition_penalty: float = 1.0  # divides the scores of tokens already there (Keskar et al. 2019); 1 is none
    seed: int = 0
    stop: tuple[str, ...] = ()  # the text ends before any of these

    def __post_init__(self) -> None:
        allowed = {
            "max_tokens": self.max_tokens >= 1,
            "temperature": 0 <= self.temperature <= 10,
            "top_k": self.top_k >= 0,
            "top_p": 0 < self.top_p <= 1,
            "repetition_penalty": 1 <= self.repetition_penalty <= 10,
            "seed": self.seed >= 0,
            "stop": all(self.stop),
        }
        for name, good in allowed.items():
            if not good:
                raise TextmillError(f"{name} cannot be {getattr(self, name)!r} when a text is written.")

    @classmethod
    def of(cls, *layers: Mapping[str, Any]) -> "Settings":
        """Settings from mappings of field names, the later ones win; None leaves a field as it is.

        Raises:
            TextmillError: a name is not a field, or a value is out of its range.
        """
        merged = {name: value for layer in layers for name, value in layer.items() if value is not None}
        known = {field.name for field in fields(cls)}
        if unknown := sorted(merged.keys() - known):
            raise TextmillError(
                f"'{unknown[0]}' is no setting for writing a text; known are {', '.join(sorted(known))}."
            )
        return cls(**{**merged, "stop": tuple(merged.get("stop", ()))})


def choose(
    logits: NDArray[np.float32], seen: Collection[int], settings: Settings, generator: np.random.Generator
) -> int:
    """Draw one token: one number from the generator where the temperature is above zero, none where it is zero.

    Args:
        logits: shape (vocabulary,); not changed.
        seen: the tokens that the repetition penalty falls on, each once.
    """
    if settings.repetition_penalty != 1 and seen:
        logits = _penalised(logits, np.fromiter(seen, np.intp, len(seen)), settings.repetition_penalty)
    if settings.temperature == 0:
        return int(logits.argmax())
    candidates, weights = _candidates(logits, settings)
    reached = np.cumsum(weights)
    drawn = int(np.searchsorted(reached, generator.random() * reached[-1], side="right"))
    return int(candidates[min(drawn, len(candidates) - 1)])  # rounding may carry the draw to the very end


def _penalised(logits: NDArray[np.float32], seen: NDArray[np.intp], penalty: float) -> NDArray[np.float32]:
    scores = logits[seen]
    logits = logits.copy()
    logits[seen] = np.where(scores > 0, scores / penalty, scores * penalty)
    return logits


def _candidates(logits: NDArray[np.float32], settings: Settings) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The tokens that may be drawn and their weights, which need not add up to one."""
    weights = np.exp((logits.astype(np.float64) - logits.max()) / settings.temperature)
    size = len(weights)
    limit = min(settings.top_k or size, size)
    if limit == size and settings.top_p == 1:
        return np.arange(size), weights
    total = weights.sum() if limit == size else None
    count = limit if total is None else min(_FIRST_CANDIDATES, size)
    while True:
        best = _largest(weights, count)
        reached = np.cumsum(weights[best])
        enough = settings.top_p * (reached[-1] if total is None else total)
        if reached[-1] >= enough or count == size:
            # the token that reaches the share is the last one kept
            kept = best[: int(np.searchsorted(reached, enough)) + 1]
            return kept, weights[kept]
        count = min(count * 8, size)


def _largest(weights: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """The indices of the largest weights, in falling order; equal ones by index."""
    best = np.arange(len(weights)) if count == len(weights) else np.argpartition(weights, -count)[-count:]
    return best[np.lexsort((best, -weights[best]))]
