"""The whole pipeline on one page: from a snapshot of articles to a registered model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_component import BaseComponent

from components.evaluate import Evaluate
from components.export_articles import ExportArticles
from components.fine_tune import FineTune
from components.preprocess import Preprocess
from components.register import Register
from pipeline.statistics import statistics_steps
from textmill import bases
from textmill.gpt2.base import SCRATCH, Base
from textmill.selection import Selection
from textmill.settings import Config

STEPS = ("ExportArticles", "Preprocess", "FineTune", "Evaluate", "Register")


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
        return cls(config.train.steps, bases.shape(config.model, base).size, "", stage)


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


def graph(config: Config, resolved: Resolved, checkpoints: Path, choices: Choices | None = None) -> list[BaseComponent]:
    """The five steps, in the order that data flows; `choices` stand in for the configuration's own."""
    chosen = choices or Choices.of(config, resolved.base)
    model = bases.shape(config.model, resolved.base)
    export = ExportArticles(
        snapshot=resolved.snapshot,
        digest=resolved.digest,
        database=config.store.database,
        selection=Selection.of(config.corpus).to_json(),
        sources=chosen.sources,
        code=resolved.code,
    )
    preprocess = Preprocess(
        examples=export.outputs["examples"],
        kind=config.tokenizer_kind,
        vocabulary=config.tokenizer.vocabulary,
        base=resolved.base.to_json(),
        window=model.window,
        cache=config.tokenizer.cache_dir or str(config.data_dir / "tokens"),
        cache_bytes=config.tokenizer.cache_bytes,
        code=resolved.code,
    )
    fine_tune = FineTune(
        windows=preprocess.outputs["windows"],
        examples=export.outputs["examples"],
        name=config.name,
        steps=chosen.steps,
        size=chosen.size,
        shape=model.model_dump_json(),
        base=resolved.base.to_json(),
        recipe=config.train.model_dump_json(exclude={"checkpoint_dir"}),
        checkpoints=str(checkpoints),
        code=resolved.code,
    )
    evaluate = Evaluate(
        examples=export.outputs["examples"],
        model=fine_tune.outputs["model"],
        run=fine_tune.outputs["run"],
        name=config.name,
        production=resolved.production,
        production_checksum=resolved.production_checksum,
        base=resolved.base.to_json(),
        settings=config.evaluate.model_dump_json(),
        code=resolved.code,
    )
    register = Register(
        model=fine_tune.outputs["model"],
        run=fine_tune.outputs["run"],
        evaluation=evaluate.outputs["evaluation"],
        blessing=evaluate.outputs["blessing"],
        name=config.name,
        registry=resolved.registry,
        stage=chosen.stage,
        code=resolved.code,
    )
    statistics = statistics_steps(export.outputs["examples"]) if config.corpus.statistics else []
    return [export, *statistics, preprocess, fine_tune, evaluate, register]
