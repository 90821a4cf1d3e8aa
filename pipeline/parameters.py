"""What the pipeline's steps are given beside artifacts: parameters, which TFX records and by which it caches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.articles.selection import Selection
from textmill.settings.config import Config
from textmill.settings.model import Model
from textmill.training.bases import resolving
from textmill.training.bases.base import SCRATCH, Base


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
    code: str  # a hash of the library
    base: Base = SCRATCH  # what training starts from


@dataclass(frozen=True, slots=True)
class Parameters:
    """Each step's, by the names that its component gives them; all take the library's hash, so that a change is seen."""

    config: Config
    resolved: Resolved
    checkpoints: Path  # the folder of trainings under way
    chosen: Choices

    @property
    def shape(self) -> Model:
        """The model's settings, with the base's sizes where there is one."""
        return resolving.shape(self.config.model, self.resolved.base)

    def export_articles(self) -> dict[str, Any]:
        return {
            "snapshot": self.resolved.snapshot,
            "digest": self.resolved.digest,
            "database": self.config.store.database,
            "selection": Selection.of(self.config.corpus).to_json(),
            "sources": self.chosen.sources,
            "cache": str(self.config.data_dir / "signatures"),
            "cache_bytes": self.config.corpus.cache_bytes,
            "code": self.resolved.code,
        }

    def preprocess(self) -> dict[str, Any]:
        tokenizer = self.config.tokenizer
        return {
            "kind": self.config.tokenizer_kind,
            "vocabulary": tokenizer.vocabulary,
            "base": self.resolved.base.to_json(),
            "window": self.shape.window,
            "cache": tokenizer.cache_dir or str(self.config.data_dir / "tokens"),
            "cache_bytes": tokenizer.cache_bytes,
            "code": self.resolved.code,
        }

    def fine_tune(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "steps": self.chosen.steps,
            "size": self.chosen.size,
            "shape": self.shape.model_dump_json(),
            "base": self.resolved.base.to_json(),
            "recipe": self.config.train.model_dump_json(exclude_unset=True, exclude={"checkpoint_dir"}),
            "checkpoints": str(self.checkpoints),
            "code": self.resolved.code,
        }

    def evaluate(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "production": self.resolved.production,
            "production_checksum": self.resolved.production_checksum,
            "base": self.resolved.base.to_json(),
            "settings": self.config.evaluate.model_dump_json(),
            "code": self.resolved.code,
        }

    def register(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "registry": self.resolved.registry,
            "stage": self.chosen.stage,
            "code": self.resolved.code,
        }
