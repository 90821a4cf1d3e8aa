"""The whole pipeline on one page: from a snapshot of articles to a registered model."""

from pathlib import Path

from tfx.dsl.components.base.base_component import BaseComponent

from components.evaluate import Evaluate
from components.export_articles import ExportArticles
from components.fine_tune import FineTune
from components.preprocess import Preprocess
from components.register import Register
from pipeline.parameters import Choices, Parameters, Resolved
from pipeline.statistics import statistics_steps
from textmill.commands.run import STEPS as STEPS
from textmill.settings.config import Config


def graph(config: Config, resolved: Resolved, checkpoints: Path, choices: Choices | None = None) -> list[BaseComponent]:
    """The five steps, in the order that data flows; `choices` stand in for the configuration's own."""
    given = Parameters(config, resolved, checkpoints, choices or Choices.of(config, resolved.base))
    export = ExportArticles(**given.export_articles())
    preprocess = Preprocess(
        examples=export.outputs["examples"],
        **given.preprocess(),
    )
    fine_tune = FineTune(
        windows=preprocess.outputs["windows"],
        examples=export.outputs["examples"],
        **given.fine_tune(),
    )
    evaluate = Evaluate(
        examples=export.outputs["examples"],
        model=fine_tune.outputs["model"],
        run=fine_tune.outputs["run"],
        **given.evaluate(),
    )
    register = Register(
        model=fine_tune.outputs["model"],
        run=fine_tune.outputs["run"],
        evaluation=evaluate.outputs["evaluation"],
        **given.register(),
    )
    statistics = statistics_steps(export.outputs["examples"]) if config.corpus.statistics else []
    return [export, *statistics, preprocess, fine_tune, evaluate, register]
