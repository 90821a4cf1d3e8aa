"""The whole pipeline on one page: from a snapshot of articles to a registered model."""

import json
from dataclasses import dataclass
from pathlib import Path

from tfx.dsl.components.base.base_component import BaseComponent

from components.evaluate import Evaluate
from components.export_articles import ExportArticles
from components.fine_tune import FineTune
from components.preprocess import Preprocess
from components.register import Register
from textmill import bases
from textmill.gpt2.base import SCRATCH, Base
from textmill.settings import Config

STEPS = ("ExportArticles", "Preprocess", "FineTune", "Evaluate", "Register")


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


def graph(config: Config, resolved: Resolved, checkpoints: Path) -> list[BaseComponent]:
    """The five steps, in the order that data flows."""
    model = bases.shape(config.model, resolved.base)
    export = ExportArticles(
        snapshot=resolved.snapshot,
        digest=resolved.digest,
        database=config.store.database,
        eval_percent=float(config.corpus.eval_percent),
        validation_percent=float(config.corpus.validation_percent),
        languages=json.dumps(config.corpus.languages),
        code=resolved.code,
    )
    preprocess = Preprocess(
        examples=export.outputs["examples"],
        kind=config.tokenizer_kind,
        vocabulary=config.tokenizer.vocabulary,
        base=resolved.base.to_json(),
        window=model.window,
        code=resolved.code,
    )
    fine_tune = FineTune(
        windows=preprocess.outputs["windows"],
        examples=export.outputs["examples"],
        name=config.name,
        steps=config.train.steps,
        size=model.size,
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
        promote=config.registry.promote,
        code=resolved.code,
    )
    return [export, preprocess, fine_tune, evaluate, register]
