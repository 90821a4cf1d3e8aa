"""What a request may do to the logits before a token is drawn: OpenAI's penalties and bias, vLLM's `min_tokens` and `ignore_eos`."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.inference.sampling import Settings


class LogitOptions:
    """The options of one text, and the tokens written so far, which the penalties count."""

    def __init__(self, settings: Settings, end: int) -> None:
        self._settings = settings
        self._end = end
        self._written: Counter[int] = Counter()
        self._penalised = bool(settings.frequency_penalty or settings.presence_penalty)
        self._biased = np.array([token for token, _ in settings.logit_bias], np.intp)
        self._bias = np.array([bias for _, bias in settings.logit_bias], np.float32)

    @classmethod
    def of(cls, settings: Settings, end: int) -> "LogitOptions | None":
        """The options of a text; None where the settings have none."""
        return cls(settings, end) if settings.changes_logits else None

    def take(self, token: int) -> None:
        """Count a token that was written."""
        self._written[token] += 1

    def apply(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits as the options change them; the given ones stay as they are.

        Both penalties are OpenAI's: `frequency_penalty` is taken off once for each time that the text has the token,
        `presence_penalty` once if it has it at all. The prompt does not count.
        """
        logits = logits.copy()
        known = self._biased < len(logits)
        logits[self._biased[known]] += self._bias[known]
        if self._penalised and self._written:
            tokens = np.fromiter(self._written, np.intp, len(self._written))
            counts = np.fromiter(self._written.values(), np.float32, len(self._written))
            logits[tokens] -= self._settings.frequency_penalty * counts + self._settings.presence_penalty
        if self._settings.ignore_eos or self._written.total() < self._settings.min_tokens:
            logits[self._end] = -np.inf
        return logits
