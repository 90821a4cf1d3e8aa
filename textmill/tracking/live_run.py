"""A training's figures and samples in MLflow while it runs.

They go through MLflow's REST API from a thread of their own, because importing `mlflow` takes five seconds and a slow
or absent server must not hold up a training. What could not be sent is logged when the model is registered, in the
same run.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from textmill.console import progress
from textmill.ground import environment
from textmill.ground.environment import without_password
from textmill.ground.errors import UserError
from textmill.ground.files import write_beside
from textmill.settings.group import flat
from textmill.training.log import SAMPLES, Point, Samples

RUN_FILE = "mlflow_run_id"  # in the folder of a training's logs: the run that Register goes on in
_ANSWER_WITHIN_S = 5
_SEND_EVERY_S = 1.0
_TRY_AGAIN_AFTER_S = 15.0
_AT_ONCE = 1000  # metrics in one request; MLflow takes no more
_PARAMETERS_AT_ONCE = 100
_TRAINING = "textmill.training"  # the tag by which a training that goes on finds its run


@contextmanager
def live_run(experiment: str, name: str, logs: Path) -> Iterator["LiveRun | None"]:
    """The run of a training in the MLflow that the environment names, ended as the block ends; None where it names none."""
    uri = os.environ.get(environment.MLFLOW)
    live = LiveRun(uri, experiment, name, logs) if uri else None
    status = "FAILED"
    try:
        yield live
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if live:
            live.end(status)


class LiveRun:
    """One training's run in MLflow."""

    def __init__(self, tracking_uri: str, experiment: str, name: str, logs: Path) -> None:
        """Nothing is sent before `begin`.

        Args:
            experiment: its name; the run that MLFLOW_RUN_ID names is joined instead, wherever it is.
            name: of a new run.
            logs: the folder of the training's logs, with its samples; `RUN_FILE` is written there.
        """
        self._server = _Server(tracking_uri)
        self._experiment = experiment
        self._name = name
        self._logs = logs
        self._joined = os.environ.get("MLFLOW_RUN_ID", "")
        self._run_id = ""
        self._points: list[Point] = []
        self._samples_written = False
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._status = ""
        self._warned = False
        self._thread: threading.Thread | None = None

    def begin(self, training: str, parameters: Mapping[str, Any]) -> None:
        """Open the run, or go on in that of an interrupted training.

        Args:
            training: the same for a training that goes on.
            parameters: by name, nested; MLflow shows them by dotted names.
        """
        self._training = training
        self._parameters = {name: str(value) for name, value in flat(parameters).items()}
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def point(self, point: Point) -> None:
        """Log figures, soon."""
        with self._lock:
            self._points.append(point)

    def samples(self, samples: Samples) -> None:
        """Log the sample texts that are in the logs by now, soon."""
        self._samples_written = True

    def end(self, status: str = "FINISHED", within_s: float = 10.0) -> None:
        """Send what is left, and give up after a while; `status` is one of MLflow's."""
        if self._thread is None:
            return
        self._status = status
        self._ending.set()
        self._thread.join(within_s)
        if self._run_id:
            write_beside(self._logs / RUN_FILE, self._run_id)

    def _work(self) -> None:
        ending, pause_s = False, 0.0
        while not ending:
            ending = self._ending.wait(pause_s)
            try:
                self._send()
                pause_s = _SEND_EVERY_S
            except (requests.RequestException, _Refusal, KeyError, ValueError, OSError) as error:
                self._warn(error)
                pause_s = _TRY_AGAIN_AFTER_S

    def _send(self) -> None:
        if not self._run_id:
            self._open()
        with self._lock:
            points = self._points[: _AT_ONCE // len(Point.__slots__)]
        while points:
            self._server.call("runs/log-batch", run_id=self._run_id, metrics=_metrics(points))
            with self._lock:
                del self._points[: len(points)]
                points = self._points[: _AT_ONCE // len(Point.__slots__)]
        if self._samples_written:
            self._samples_written = False
            self._server.put_file(self._artifacts, f"training/{SAMPLES}", self._logs / SAMPLES)
        if self._status and not self._joined:
            now = round(time.time() * 1000)
            self._server.call("runs/update", run_id=self._run_id, status=self._status, end_time=now)

    def _open(self) -> None:
        run = self._found() or self._created()
        info = run["info"]
        self._artifacts = info["artifact_uri"]
        logged = max((int(each.get("step", 0)) for each in run["data"].get("metrics", [])), default=-1)
        with self._lock:  # a training that goes on takes some steps again
            self._points = [point for point in self._points if point.step > logged]
        known = {each["key"] for each in run["data"].get("params", [])}
        rows = [{"key": key, "value": value} for key, value in self._parameters.items() if key not in known]
        for start in range(0, len(rows), _PARAMETERS_AT_ONCE):
            some = rows[start : start + _PARAMETERS_AT_ONCE]
            self._server.call("runs/log-batch", run_id=info["run_id"], params=some)
        self._run_id = info["run_id"]

    def _found(self) -> dict[str, Any] | None:
        """The run to join: the one that the environment names, or that of this training if it was interrupted."""
        if self._joined:
            return dict(self._server.get("runs/get", run_id=self._joined)["run"])
        query = f"tags.`{_TRAINING}` = '{self._training}'"
        found = self._server.call("runs/search", experiment_ids=[self._experiment_id()], filter=query, max_results=1)
        run = next(iter(found.get("runs", [])), None)
        if run is None or run["info"]["status"] == "FINISHED":
            return None
        self._server.call("runs/update", run_id=run["info"]["run_id"], status="RUNNING")
        return dict(run)

    def _created(self) -> dict[str, Any]:
        tags = [{"key": "mlflow.source.name", "value": "textmill"}, {"key": _TRAINING, "value": self._training}]
        now = round(time.time() * 1000)
        experiment = self._experiment_id()
        answer = self._server.call(
            "runs/create", experiment_id=experiment, run_name=self._name, start_time=now, tags=tags
        )
        return dict(answer["run"])

    def _experiment_id(self) -> str:
        try:
            found = self._server.get("experiments/get-by-name", experiment_name=self._experiment)["experiment"]
            return str(found["experiment_id"])
        except _Refusal as refusal:
            if refusal.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        return str(self._server.call("experiments/create", name=self._experiment)["experiment_id"])

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            progress.note(
                f"MLflow takes no figures now ({error if isinstance(error, _Refusal) else type(error).__name__}); "
                "the training goes on, and they follow when the model is registered"
            )


class _Refusal(UserError):
    """MLflow answered, and said no."""

    def __init__(self, url: str, answer: requests.Response) -> None:
        try:
            said = answer.json()
        except requests.JSONDecodeError:
            said = {}
        self.code: str = said.get("error_code", "")
        super().__init__(f"{without_password(url)}: {said.get('message', f'status {answer.status_code}')}")


class _Server:
    """MLflow's REST API, version 2.0; the login is the address's own or the environment's, as for `mlflow`."""

    def __init__(self, tracking_uri: str) -> None:
        self._api = f"{tracking_uri.rstrip('/')}/api/2.0"
        self._session = requests.Session()
        if name := os.environ.get("MLFLOW_TRACKING_USERNAME"):
            self._session.auth = (name, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
        elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
            self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        return dict(self._answer("GET", f"{self._api}/mlflow/{path}", params=parameters).json())

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        return dict(self._answer("POST", f"{self._api}/mlflow/{path}", json=body).json())

    def put_file(self, root: str, name: str, file: Path) -> None:
        """Write an artifact below a run's, in place of the former one; nothing where the server does not pass it on."""
        scheme, _, path = root.partition(":/")
        if scheme == "mlflow-artifacts":
            # mlflow-artifacts://host/path names its server; this one is the server we speak to
            path = path.lstrip("/") if not path.startswith("/") else path[1:].partition("/")[2]
            url = f"{self._api}/mlflow-artifacts/artifacts/{quote(f'{path}/{name}')}"
            self._answer("PUT", url, data=file.read_bytes())

    def _answer(self, method: str, url: str, **body: Any) -> requests.Response:
        answer = self._session.request(method, url, timeout=_ANSWER_WITHIN_S, **body)
        if not answer.ok:
            raise _Refusal(url, answer)
        return answer


def _metrics(points: list[Point]) -> list[dict[str, Any]]:
    now = round(time.time() * 1000)
    return [
        {"key": name, "value": value, "timestamp": now, "step": point.step}
        for point in points
        for name, value in point.scalars.items()
    ]
