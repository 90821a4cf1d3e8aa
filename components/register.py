"""Register: register the evaluated model in MLflow and move it to its stage."""

from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from textmill.console import progress
from textmill.ground import environment
from textmill.ground.errors import UserError
from textmill.registry.model_registry import ModelRegistry
from textmill.registry.versions import HELD_BY_ONE
from textmill.tracking import register


@component
def Register(
    model: InputArtifact[standard_artifacts.Model],
    run: InputArtifact[standard_artifacts.ModelRun],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    name: Parameter[str],
    registry: Parameter[str],
    stage: Parameter[str],
    asked: Parameter[str],
    code: Parameter[str],
) -> None:
    """Log, register and stage the model, unless MLflow already has its version.

    `registry` names the server's identity. `stage` is where a blessed model goes: Staging, to wait for a reviewer, or
    Production. `asked` is the unique name of the run, so that this step is never cached: the version may have been
    deleted since.
    """
    progress.step("Register")
    if stage not in HELD_BY_ONE:
        raise UserError(f"A blessed model cannot go to '{stage}'; choose {' or '.join(HELD_BY_ONE)}.")
    registered = register.register(
        ModelRegistry(environment.address(environment.MLFLOW), name),
        model=Path(model.uri),
        logs=Path(run.uri),
        evaluation=Path(evaluation.uri),
        promote="if-better" if stage == "Production" else "by-reviewer",
        run=environment.run_name(),
    )
    progress.result(registered.sentence, registered.doubt)
    progress.outcome(version=registered.version, stage=registered.stage)
