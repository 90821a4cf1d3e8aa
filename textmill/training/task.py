"""A training task: its data, initial weights and settings, and its checkpoint folder's name.

A hash of these names the checkpoint folder. So a killed run finds its own checkpoints and resumes, and no other run uses
them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import Tokenizer
from textmill.settings.training import Train
from textmill.training.dataset import TokenStream

# these change what is kept and shown, not what is learned
NOT_LEARNED = {"checkpoint_dir", "checkpoint_every_s", "checkpoint_every", "keep_checkpoints", "sample_every", "memory"}


@dataclass(frozen=True, slots=True)
class Task:
    """The data, base and settings of a training."""

    architecture: Architecture
    settings: Train
    tokens: TokenStream
    held_out: TokenStream
    tokenizer: Tokenizer
    base: weights.Weights | None = None  # None: random weights
    topics: Sequence[str] = ("",)  # sample texts are written on the first one and on a random one
    code: str = ""  # a hash of the library: changed code starts afresh

    @property
    def key(self) -> str:
        """16 hex digits, equal if and only if everything that determines the result is equal."""
        return self._key(NOT_LEARNED)

    @property
    def family(self) -> str:
        """As `key`, but equal whatever the numbers of steps, of windows per pass, and of steps between evaluations."""
        return self._key(NOT_LEARNED | {"steps", "batch", "eval_every"})

    def _key(self, left_out: set[str]) -> str:
        facts = {
            "architecture": asdict(self.architecture),
            "settings": self.settings.model_dump(exclude=left_out),
            "tokens": self.tokens.digest,
            "held_out": self.held_out.digest,
            "base": _digest(self.base),
            "code": self.code,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _digest(base: weights.Weights | None) -> str:
    digest = hashlib.sha256()
    for name, value in sorted((base or {}).items()):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
