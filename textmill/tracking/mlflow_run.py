"""One run on an MLflow server: find or create it, log to it, end it."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from textmill.registry.mlflow_client import MlflowServer


class MlflowRun:
    """A run, with its state at the time it was read."""

    def __init__(self, server: MlflowServer, found: Mapping[str, Any]) -> None:
        """Take a run from MLflow's JSON."""
        self._server = server
        info, data = found["info"], found.get("data", {})
        self.id = str(info["run_id"])
        self.experiment = str(info["experiment_id"])
        self.status = str(info["status"])
        self.artifacts = str(info["artifact_uri"])
        self.last_step = max((int(each.get("step", 0)) for each in data.get("metrics", [])), default=-1)
        self.tags = {each["key"]: str(each["value"]) for each in data.get("tags", [])}
        self._parameters = {each["key"] for each in data.get("params", [])}

    @classmethod
    def get(cls, server: MlflowServer, run_id: str) -> "MlflowRun":
        """The run with this id."""
        return cls(server, server.call("GET", "runs/get", {"run_id": run_id})["run"])

    @classmethod
    def create(cls, server: MlflowServer, experiment: str, name: str, tags: Mapping[str, str]) -> "MlflowRun":
        """Create a run in the experiment with this id."""
        rows = [{"key": key, "value": value} for key, value in {"mlflow.source.name": "textmill", **tags}.items()]
        body = {"experiment_id": experiment, "run_name": name, "start_time": now(), "tags": rows}
        return cls(server, server.call("POST", "runs/create", body)["run"])

    def log(
        self,
        metrics: Iterable[Mapping[str, Any]] = (),
        parameters: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Log metrics (see `figures`), tags, and the parameters it does not have yet."""
        new = {key: value for key, value in (parameters or {}).items() if key not in self._parameters}
        self._server.log(self.id, metrics, new, tags)
        self._parameters |= new.keys()

    def put_file(self, name: str, source: Path | bytes) -> None:
        """Store an artifact; overwrite the old one."""
        self._server.put_file(self.artifacts, name, source)

    def set_status(self, status: str) -> None:
        """Set one of MLflow's statuses; any but RUNNING ends the run now."""
        ended = {} if status == "RUNNING" else {"end_time": now()}
        self._server.call("POST", "runs/update", {"run_id": self.id, "status": status, **ended})


def joined() -> str:
    """The id of a run that an outer process has opened and will end; empty if there is none."""
    return os.environ.get("MLFLOW_RUN_ID", "")


def figures(step: int, values: Mapping[str, float], model: str = "") -> list[dict[str, Any]]:
    """Metrics of one step for `MlflowRun.log`; `model` is the id of the logged model they evaluate."""
    also = {"model_id": model} if model else {}
    return [{"key": key, "value": value, "timestamp": now(), "step": step, **also} for key, value in values.items()]


def now() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return round(time.time() * 1000)
