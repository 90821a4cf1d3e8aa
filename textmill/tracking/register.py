"""Log an evaluated model to MLflow and register it as the next version."""

import json
import shutil
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import textmill
from textmill import __version__
from textmill.evaluation.result import EVALUATION_FILE, EVALUATION_PAGE, EVALUATION_SAMPLES
from textmill.gpt2.formats import bundle
from textmill.ground.errors import TextmillError
from textmill.local_servers import run_names
from textmill.registry.mlflow_client import LoginRefused, MlflowRefusal, MlflowServer
from textmill.registry.model_registry import BUNDLE, ModelRegistry, Version, moved
from textmill.settings.group import flat
from textmill.tracking import version_page
from textmill.tracking.live_run import RUN_FILE
from textmill.tracking.mlflow_run import MlflowRun, figures, joined

LIBRARY = "textmill.zip"  # among the artifacts of a registered model, for environments without this package
_MODEL_CODE = Path(__file__).with_name("pyfunc.py")


@dataclass(frozen=True, slots=True)
class Registered:
    """The result of Register."""

    version: int
    stage: str
    sentence: str
    doubt: str = ""  # `refused` or `undecided`, if it is


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
        if verdict.get("checksum") != checksum:
            raise TextmillError(
                f"The evaluation at {evaluation} is of another model; evaluate this one with 'textmill run --from Evaluate'."
            )
        return cls(model, logs, evaluation, checksum, lineage, verdict)

    @property
    def blessed(self) -> bool:
        """The verdict, as Evaluate's own record has it."""
        return self.verdict["blessed"] is True

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


def register(registry: ModelRegistry, model: Path, logs: Path, evaluation: Path, promote: str, run: str) -> Registered:
    """Log an evaluated model to MLflow, register it, and move it to Staging or Production if it passed.

    A registered bundle is not registered again. If its version was ever in a stage, nothing changes.

    Args:
        model: the bundle.
        logs: folder of its training, with `history.json` and `samples.txt`.
        evaluation: output folder of Evaluate; says whether the model passed.
        promote: `by-reviewer` or `if-better`.
        run: the pipeline run's name.
    """
    checksum = bundle.verify(model)
    version = registry.with_checksum(checksum)
    if version and any(move.version == version.number for move in registry.history()):
        where = "in no stage" if version.stage == "None" else f"in {version.stage}"
        sentence = f"version {version.number} already holds this model, {where}; nothing to register"
        return Registered(version.number, version.stage, sentence)
    made = _Made.read(model, logs, evaluation, checksum)
    # a version that was never moved is one whose registration was interrupted, or that did not pass: finish it
    version = version or _log(registry, made, run)
    run_names.registered(logs, version.number)
    if not made.blessed:
        registry.note_verdict(version, made.verdict_tags)
        sentence = f"version {version.number} is {made.outcome} and in no stage"
        return Registered(version.number, "None", sentence, made.outcome)
    return _staged(registry, version, f"Evaluate blessed it: {made.reasons}", promote)


def _staged(registry: ModelRegistry, version: Version, why: str, promote: str) -> Registered:
    """Move a blessed version to Staging, and on to Production where no reviewer is waited for."""
    if version.doubt:  # it has been evaluated anew
        registry.note_verdict(version, {})
        version = registry.version(version.number)
    registry.move(version, moved(version, version.stage, "Staging", why))
    if promote == "if-better":
        registry.promote(version.number, why, stage="Production")
        return Registered(version.number, "Production", f"version {version.number} promoted to Production")
    return Registered(version.number, "Staging", f"version {version.number} is in Staging and waits for a reviewer")


def _log(registry: ModelRegistry, made: _Made, run: str) -> Version:
    """Log a model in its training's run, and register it as the next version."""
    server = registry.server
    active, ours = _run(server, registry.name, made.logs, run)
    status = "FAILED"
    try:
        model = _begin_model(server, active)
        _log_figures(active, made, run, model["info"]["model_id"])
        _put_files(active, made)
        source = _log_model(server, active, made.model, model["info"])
        version = registry.register(source, active.id, _description(made, active), _tags(made))
        status = "FINISHED"
        return version
    finally:
        if ours and status != active.status:
            with suppress(TextmillError):  # what went wrong before says more
                active.set_status(status)


def _log_figures(run: MlflowRun, made: _Made, pipeline_run: str, model: str) -> None:
    """What the model was made from, the verdict on it, and of the training the figures that the run has not yet."""
    lineage = made.lineage
    tags = {
        "textmill.version": __version__,
        "textmill.code": lineage["code"],
        "textmill.pipeline_run": pipeline_run,
        "textmill.snapshot": lineage["corpus"]["snapshot"],
        "textmill.snapshot_digest": lineage["corpus"]["digest"],
        "textmill.blessed": made.verdict["blessed"],
        "textmill.outcome": made.outcome,
    }
    history = json.loads((made.logs / "history.json").read_text(encoding="utf-8"))
    points = figures(0, made.verdict["metrics"], model)
    for row in (row for row in history if row["step"] > run.last_step):
        points += figures(row["step"], {key: row[key] for key in row if key != "step"})
    run.log(points, flat(lineage["settings"] | {"trained": lineage.get("trained", {})}), tags)


def _put_files(run: MlflowRun, made: _Made) -> None:
    run.put_file("lineage.json", json.dumps(made.lineage, indent=2, ensure_ascii=False).encode())
    run.put_file("training/samples.txt", made.logs / "samples.txt")
    for name in (EVALUATION_FILE, EVALUATION_PAGE, EVALUATION_SAMPLES):  # and nothing else that the folder may hold
        if (made.evaluation / name).exists():
            run.put_file(f"evaluation/{name}", made.evaluation / name)


def _begin_model(server: MlflowServer, run: MlflowRun) -> dict[str, Any]:
    """Open a logged model, which MLflow shows as pending until its files are there."""
    body = {"experiment_id": run.experiment, "name": "model", "source_run_id": run.id}
    model = dict(server.call("POST", "logged-models", body)["model"])
    made = {"run_id": run.id, "models": [{"model_id": model["info"]["model_id"], "step": 0}]}
    server.call("POST", "runs/outputs", made)
    return model


def _log_model(server: MlflowServer, run: MlflowRun, model: Path, info: dict[str, Any]) -> str:
    """Upload the bundle as an MLflow `pyfunc` model, and return its URI."""
    with tempfile.TemporaryDirectory() as folder:
        written = _written(Path(folder), run, model, info)
        for file in filter(Path.is_file, sorted(written.rglob("*"))):
            server.put_file(info["artifact_uri"], file.relative_to(written).as_posix(), file)
    model_id = str(info["model_id"])
    server.call("PATCH", f"logged-models/{model_id}", {"model_id": model_id, "status": "LOGGED_MODEL_READY"})
    return f"models:/{model_id}"


def _written(folder: Path, run: MlflowRun, model: Path, info: dict[str, Any]) -> Path:
    """The model's files as MLflow lays them out, in a folder; MLflow's server is not asked."""
    import mlflow

    code = folder / _MODEL_CODE.name
    code.write_text(_MODEL_CODE.read_text(encoding="utf-8"), encoding="utf-8")
    named = folder / BUNDLE  # MLflow keeps a folder's own name, and follows no link out of its place
    for name in bundle.names(model):
        (named / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model / name, named / name)
    library = folder / LIBRARY
    _write_library(library)
    place, model_id = info["artifact_uri"], info["model_id"]
    mlflow.pyfunc.save_model(
        path=str(folder / "model"),
        mlflow_model=mlflow.models.Model(artifact_path=place, model_uuid=model_id, run_id=run.id, model_id=model_id),
        python_model=str(code),  # models from code: no pickle
        artifacts={BUNDLE: str(named), "library": str(library)},
        pip_requirements=["numpy", "onnxruntime", "tokenizers"],
    )
    return folder / "model"


def _write_library(file: Path) -> None:
    """Pack what of the library generates text: one file, since each is a request."""
    package = Path(textmill.__file__).parent
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as library:
        for part in (package / "__init__.py", *_sources(package / "gpt2"), *_sources(package / "ground")):
            library.write(part, part.relative_to(package.parent))


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


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


def _run(server: MlflowServer, experiment: str, logs: Path, name: str) -> tuple[MlflowRun, bool]:
    """The run to log in, that of the training where it had one, and whether it is ours to end."""
    file = logs / RUN_FILE
    if file.exists():
        try:
            run = MlflowRun.get(server, file.read_text(encoding="utf-8"))
            return run, run.id != joined()
        except LoginRefused:
            raise
        except MlflowRefusal:  # of another server, or deleted since
            pass
    if outer := joined():
        return MlflowRun.get(server, outer), False
    return MlflowRun.create(server, server.experiment(experiment), name, {}), True


def _description(made: _Made, run: MlflowRun) -> str:
    """The version's page: the verdict with its figures, samples, where the text came from, the model card."""
    address = f"#/experiments/{run.experiment}/runs/{run.id}"  # MLflow's page finds it wherever it stands itself
    page = f"{address}/artifacts/evaluation/{EVALUATION_PAGE}" if (made.evaluation / EVALUATION_PAGE).exists() else ""
    card = (made.model / bundle.CARD).read_text(encoding="utf-8")
    return version_page.description(made.verdict, made.lineage, card, page, address)
