"""Register: the judged model becomes a version in MLflow, in the stage that it has earned."""

from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from textmill import environment, progress, tracking
from textmill.registry import ModelRegistry


@component
def Register(
    model: InputArtifact[standard_artifacts.Model],
    run: InputArtifact[standard_artifacts.ModelRun],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    name: Parameter[str],
    registry: Parameter[str],
    promote: Parameter[str],
    code: Parameter[str],
) -> None:
    """Log, register and stage the model; `registry` names the server's identity, for caching to see another one."""
    progress.step("Register")
    registered = tracking.register(
        ModelRegistry(environment.address(environment.MLFLOW), name),
        model=Path(model.uri),
        logs=Path(run.uri),
        evaluation=Path(evaluation.uri),
        blessed=(Path(blessing.uri) / "BLESSED").exists(),
        promote=promote,
        run=environment.run_name(),
    )
    progress.result(registered.sentence)
    progress.outcome(version=registered.version, stage=registered.stage)
