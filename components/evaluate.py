"""Evaluate: compare the model with Production on held-out articles, and test it for copying."""

from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from textmill.console import progress
from textmill.corpus import shards
from textmill.evaluation import evaluate
from textmill.ground import environment
from textmill.ground.files import emptied
from textmill.registry.model_registry import ModelRegistry
from textmill.settings.evaluation import Evaluate as Settings  # the component has the name
from textmill.training.bases.base import Base


@component
def Evaluate(
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    run: InputArtifact[standard_artifacts.ModelRun],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    name: Parameter[str],
    production: Parameter[int],
    production_checksum: Parameter[str],
    base: Parameter[str],
    settings: Parameter[str],
    code: Parameter[str],
) -> None:
    """Evaluate the model as it will be served; bless it, or give the reasons against it.

    `production` is a version's number, or 0; its checksum makes caching notice another version. `base` is the JSON of
    the base that training started from.
    """
    progress.step("Evaluate")
    verdict = evaluate.evaluate(
        model=Path(model.uri),
        articles=shards.check_facts(Path(examples.uri), examples.get_string_custom_property("facts")),
        logs=Path(run.uri),
        registry=ModelRegistry(environment.address(environment.MLFLOW), name),
        production=production,
        base=Base.from_json(base),
        settings=Settings.model_validate_json(settings),
        out=emptied(Path(evaluation.uri)),
        blessing=emptied(Path(blessing.uri)),
    )
    blessing.set_int_custom_property("blessed", int(verdict.blessed))
    main, *further = verdict.reasons
    for each in [*further, *verdict.warnings]:
        progress.note(each)
    progress.result(f"{verdict.outcome}: {main}", "" if verdict.blessed else verdict.outcome)
