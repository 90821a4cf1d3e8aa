"""What a training leaves in MLflow: a run with parameters, metrics and samples, and the model as its next version."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import textmill
from textmill import __version__
from textmill.evaluation.result import EVALUATION_FILE, EVALUATION_PAGE
from textmill.gpt2.formats import bundle
from textmill.ground.environment import without_password
from textmill.registry.model_registry import BUNDLE, ModelRegistry, Version
from textmill.settings.group import flat
from textmill.tracking import version_page
from textmill.tracking.live_run import RUN_FILE

_LIBRARY = Path(textmill.__file__).parent
_MODEL_CODE = Path(__file__).with_name("pyfunc.py")


@dataclass(frozen=True, slots=True)
class Registered:
    """What Register came to."""

    version: int
    stage: str
    sentence: str


@dataclass(frozen=True, slots=True)
class _Made:
    """What FineTune and Evaluate left."""

    model: Path  # the bundle
    logs: Path
    evaluation: Path
    checksum: str  # of the bundle
    lineage: dict[str, Any]
    verdict: dict[str, Any]

    @classmethod
    def read(cls, model: Path, logs: Path, evaluation: Path, checksum: str) -> "_Made":
        lineage = json.loads((model / bundle.LINEAGE).read_text(encoding="utf-8"))
        verdict = json.loads((evaluation / EVALUATION_FILE).read_text(encoding="utf-8"))
        return cls(model, logs, evaluation, checksum, lineage, verdict)

    @property
    def reasons(self) -> str:
        return "; ".join(self.verdict["reasons"])

    @property
    def outcome(self) -> str:
        return str(self.verdict["outcome"])

    @property
    def verdict_tags(self) -> dict[str, str]:
        """The version's tags that say what speaks against it; none where it was blessed."""
        return {} if self.outcome == "blessed" else {self.outcome: self.reasons}


def register(
    registry: ModelRegistry, model: Path, logs: Path, evaluation: Path, blessed: bool, promote: str, run: str
) -> Registered:
    """Log a judged model to MLflow, register it, and move it to the stage it has earned.

    A bundle that is registered already is not registered again: once its version has been in a stage, it stays as it
    stands.

    Args:
        model: the bundle.
        logs: what its training wrote: `history.json` and `samples.txt`.
        evaluation: what Evaluate wrote.
        promote: `by-reviewer` or `if-better`.
        run: the pipeline run's name.
    """
    checksum = bundle.verify(model)
    version = registry.with_checksum(checksum)
    if version and any(move.version == version.number for move in registry.history()):
        where = "in no stage" if version.stage == "None" else f"in {version.stage}"
        sentence = f"version {version.number} has this very model, {where}; nothing to register"
        return Registered(version.number, version.stage, sentence)
    made = _Made.read(model, logs, evaluation, checksum)
    # a version that was never moved is one whose registration was interrupted, or that did not pass: finish it
    version = version or _log(registry, made, run)
    if not blessed:
        registry.note_verdict(version, made.verdict_tags)
        return Registered(version.number, "None", f"version {version.number} {made.outcome}: {made.reasons}")
    return _staged(registry, version, f"Evaluate blessed it: {made.reasons}", promote)


def _staged(registry: ModelRegistry, version: Version, why: str, promote: str) -> Registered:
    """Move a blessed version to Staging, and on to Production where no reviewer is waited for."""
    registry.note_verdict(version, {})
    registry.promote(version.number, why, stage="Staging")
    if promote == "if-better":
        registry.promote(version.number, why, stage="Production")
        return Registered(version.number, "Production", f"version {version.number} promoted to Production")
    return Registered(version.number, "Staging", f"version {version.number} is in Staging and waits for a reviewer")


def _log(registry: ModelRegistry, made: _Made, run: str) -> Version:
    """Log a model in its training's run, and register it as the next version."""
    import mlflow

    _log_in(registry.tracking_uri)
    mlflow.set_tracking_uri(without_password(registry.tracking_uri))  # MLflow prints it
    active, logged = _run(registry.name, made.logs, run)
    with active:
        _log_settings(made, run)
        _log_figures(made, logged)
        model_id = _log_model(made.model)
        page = _description(made, active.info)
        return registry.register(f"models:/{model_id}", active.info.run_id, page, _tags(made))


def _log_settings(made: _Made, run: str) -> None:
    """What the model was made from, as the run's parameters and tags."""
    import mlflow

    lineage = made.lineage
    mlflow.log_params(flat(lineage["settings"] | {"trained": lineage.get("trained", {})}))
    mlflow.set_tags(
        {
            "textmill.version": __version__,
            "textmill.code": lineage["code"],
            "textmill.pipeline_run": run,
            "textmill.snapshot": lineage["corpus"]["snapshot"],
            "textmill.snapshot_digest": lineage["corpus"]["digest"],
            "textmill.blessed": made.verdict["blessed"],
            "textmill.outcome": made.outcome,
        }
    )
    mlflow.log_dict(lineage, "lineage.json")


def _log_figures(made: _Made, logged: int) -> None:
    """The verdict, and of the training what came after the step `logged`."""
    import mlflow

    mlflow.log_metrics(made.verdict["metrics"])
    history = json.loads((made.logs / "history.json").read_text(encoding="utf-8"))
    for row in (row for row in history if row["step"] > logged):
        mlflow.log_metrics({key: row[key] for key in row if key != "step"}, step=row["step"])
    mlflow.log_artifacts(str(made.evaluation), "evaluation")
    mlflow.log_artifact(str(made.logs / "samples.txt"), "training")


def _log_model(model: Path) -> str:
    """Log the bundle as an MLflow `pyfunc` model, and return MLflow's id of it."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / _MODEL_CODE.name
        code.write_text(_MODEL_CODE.read_text(encoding="utf-8"), encoding="utf-8")
        named = Path(folder) / BUNDLE  # MLflow keeps a folder's own name, and follows no link out of its place
        shutil.copytree(model, named)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(code),  # models from code: no pickle
            artifacts={BUNDLE: str(named)},
            code_paths=[str(_LIBRARY)],
            pip_requirements=["numpy", "onnxruntime", "tokenizers"],
        )
    return str(logged.model_id)


def _tags(made: _Made) -> dict[str, str]:
    """The version's, by which it is found and compared."""
    metrics = made.verdict["metrics"]
    tags = {
        "checksum": made.checksum,
        "bits_per_byte": f"{metrics['bits_per_byte']:.4f}",
        "reference": f"{made.verdict['reference']} {metrics['reference_bits_per_byte']:.4f}",
        "snapshot": str(made.lineage["corpus"]["snapshot"]),
    }
    return tags | made.verdict_tags


def _run(experiment: str, logs: Path, name: str) -> tuple[Any, int]:
    """The run to log in, started, and the last step whose figures are in it, or -1: that of the training, where it had one."""
    import mlflow

    file = logs / RUN_FILE
    if file.exists():
        run_id = file.read_text(encoding="utf-8")
        try:
            run = mlflow.get_run(run_id)
            steps = [metric.step for metric in mlflow.MlflowClient().get_metric_history(run_id, "held_out_loss")]
            steps += [metric.step for metric in mlflow.MlflowClient().get_metric_history(run_id, "loss")]
            mlflow.set_experiment(experiment_id=run.info.experiment_id)
            return mlflow.start_run(run_id=run_id), max(steps, default=-1)
        except mlflow.MlflowException:  # of another server, or deleted since
            pass
    mlflow.set_experiment(experiment)
    return mlflow.start_run(run_name=name), -1


def _log_in(uri: str) -> None:
    """Hand MLflow the name and the password of an address in the way that it does not print."""
    parts = urlsplit(uri)
    if parts.username:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")


def _description(made: _Made, run: Any) -> str:
    """The version's page: the verdict with its figures, samples, where the text came from, the model card."""
    address = f"#/experiments/{run.experiment_id}/runs/{run.run_id}"  # MLflow's page finds it wherever it stands itself
    page = f"{address}/artifacts/evaluation/{EVALUATION_PAGE}" if (made.evaluation / EVALUATION_PAGE).exists() else ""
    card = (made.model / bundle.CARD).read_text(encoding="utf-8")
    return version_page.description(made.verdict, made.lineage, card, page, address)
