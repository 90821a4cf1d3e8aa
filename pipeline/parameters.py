"""What the pipeline's steps are given beside artifacts: parameters, which TFX records and by which it caches.

Settings that change nothing of what a step makes are no parameters: steps find them in the environment (`how`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.articles.selection import Selection
from textmill.ground.environment import HOW
from textmill.ground.sources import code_of
from textmill.settings.config import Config
from textmill.settings.model import Model
from textmill.training.bases import resolving
from textmill.training.bases.base import SCRATCH, Base

# by a step's module: the libraries whose next version may make another result of the same input
_LIBRARIES = {
    "export_articles": ("datasketch", "isal", "numpy"),
    "preprocess": ("tiktoken", "tokenizers"),
    "fine_tune": ("keras", "keras-hub", "onnx", "tokenizers"),
    "evaluate": ("onnxruntime", "tiktoken", "tokenizers"),
    "register": (),
}
_KEPT_AND_SHOWN = ("checkpoint_every_s", "checkpoint_every", "keep_checkpoints")


def code(step: str, backend: str) -> str:
    """The hash of what a step runs: its modules, and the versions of the libraries that make its result.

    Args:
        step: the name of its module.
        backend: what FineTune computes with, `tensorflow` or `jax`.
    """
    libraries = (*_LIBRARIES[step], backend) if step == "fine_tune" else _LIBRARIES[step]
    return code_of(f"components.{step}", libraries)


def how(config: Config) -> dict[str, str]:
    """The variable of the environment in which steps find the settings that change nothing of what they make."""
    settings = {
        "signature_bytes": config.corpus.cache_bytes,
        "token_bytes": config.tokenizer.cache_bytes,
        "train": config.train.model_dump(include=_not_in_the_key(config)),
    }
    return {HOW: json.dumps(settings, sort_keys=True)}


def _not_in_the_key(config: Config) -> set[str]:
    # the memory decides how large a batch is where that is left to it
    return {*_KEPT_AND_SHOWN} | ({"memory"} if config.train.batch != "auto" else set())


@dataclass(frozen=True, slots=True)
class Choices:
    """What people change from one run to the next; a runner may make these parameters of the pipeline itself."""

    steps: Any  # FineTune's optimiser steps
    size: Any  # the model's: one of `settings.Model.size`
    sources: Any  # names of the sources to learn from, with commas; empty: all that the snapshot holds
    stage: Any  # where a blessed model goes: Staging or Production

    @classmethod
    def of(cls, config: Config, base: Base) -> "Choices":
        """What the configuration says."""
        stage = "Production" if config.registry.promote == "if-better" else "Staging"
        return cls(config.train.steps, resolving.shape(config.model, base).size, "", stage)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a run depends on outside its parameters, looked up once when it starts, so that caching sees a change."""

    snapshot: int
    digest: str  # of the snapshot
    production: int  # the version in Production, or 0
    production_checksum: str  # of that version's bundle
    registry: str  # which MLflow this is
    base: Base = SCRATCH  # what training starts from
    run: str = ""  # the run's name


@dataclass(frozen=True, slots=True)
class Parameters:
    """Each step's, by the names that its component gives them; all take a hash of their code, so that a change is seen."""

    config: Config
    resolved: Resolved
    checkpoints: Path  # the folder of trainings under way
    chosen: Choices

    @property
    def shape(self) -> Model:
        """The model's settings, with the base's sizes where there is one."""
        return resolving.shape(self.config.model, self.resolved.base)

    def code(self, step: str) -> str:
        """The hash of what a step runs."""
        return code(step, self.config.train.backend)

    def export_articles(self) -> dict[str, Any]:
        return {
            "snapshot": self.resolved.snapshot,
            "digest": self.resolved.digest,
            "database": self.config.store.database,
            "selection": Selection.of(self.config.corpus).to_json(),
            "sources": self.chosen.sources,
            "cache": str(self.config.data_dir / "signatures"),
            "code": self.code("export_articles"),
        }

    def preprocess(self) -> dict[str, Any]:
        tokenizer = self.config.tokenizer
        return {
            "kind": self.config.tokenizer_kind,
            "vocabulary": tokenizer.vocabulary,
            "base": self.resolved.base.to_json(),
            "window": self.shape.window,
            "cache": tokenizer.cache_dir or str(self.config.data_dir / "tokens"),
            "code": self.code("preprocess"),
        }

    def fine_tune(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "steps": self.chosen.steps,
            "size": self.chosen.size,
            "shape": self.shape.model_dump_json(),
            "base": self.resolved.base.to_json(),
            "recipe": self.config.train.model_dump_json(
                exclude_unset=True, exclude={"checkpoint_dir", *_not_in_the_key(self.config)}
            ),
            "checkpoints": str(self.checkpoints),
            "code": self.code("fine_tune"),
        }

    def evaluate(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "production": self.resolved.production,
            "production_checksum": self.resolved.production_checksum,
            "base": self.resolved.base.to_json(),
            "settings": self.config.evaluate.model_dump_json(),
            "code": self.code("evaluate"),
        }

    def register(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "registry": self.resolved.registry,
            "stage": self.chosen.stage,
            "asked": self.resolved.run,
            "code": self.code("register"),
        }
