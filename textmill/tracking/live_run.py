"""Log a training's metrics and samples to MLflow while it runs.

A separate thread sends them through MLflow's REST API, so that a slow or absent server does not delay the training.
What could not be sent is logged to the same run when the model is registered.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textmill.console import progress
from textmill.ground import environment
from textmill.ground.errors import TextmillError
from textmill.ground.files import write_beside
from textmill.registry.mlflow_client import MlflowServer
from textmill.settings.group import flat
from textmill.tracking import mlflow_run
from textmill.tracking.mlflow_run import MlflowRun
from textmill.training.log import SAMPLES, Point, Samples

RUN_FILE = "mlflow_run_id"  # in the folder of a training's logs: the run that Register goes on in
_SEND_EVERY_S = 1.0
_TRY_AGAIN_AFTER_S = 15.0
_AT_ONCE = 100  # points at a time; a figure that was sent is not sent again
_TRAINING = "textmill.training"  # the tag by which a training that goes on finds its run


@contextmanager
def live_run(experiment: str, name: str, logs: Path) -> Iterator["LiveRun | None"]:
    """A training's run in the MLflow of the environment, ended with the block; None if no MLflow is set."""
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
            experiment: name of the experiment, ignored if MLFLOW_RUN_ID names a run to join.
            name: name of a new run.
            logs: folder of the training's logs and samples; `RUN_FILE` is written there.
        """
        self._server = MlflowServer(tracking_uri)
        self._experiment = experiment
        self._name = name
        self._logs = logs
        self._joined = mlflow_run.joined()
        self._run: MlflowRun | None = None
        self._points: list[Point] = []
        self._logged = -1  # the last step of this training that the run has
        self._samples_written = False
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._status = ""
        self._warned = False
        self._thread: threading.Thread | None = None

    def begin(self, training: str, parameters: Mapping[str, Any]) -> None:
        """Open a run, or resume the run of an interrupted training.

        Args:
            training: identifies the training; the same when it resumes.
            parameters: nested, by name; MLflow shows dotted names.
        """
        self._training = training
        self._parameters = {name: str(value) for name, value in flat(parameters).items()}
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def point(self, point: Point) -> None:
        """Queue metrics for logging."""
        with self._lock:
            self._points.append(point)

    def samples(self, samples: Samples) -> None:
        """Queue the sample texts in the logs for logging."""
        self._samples_written = True

    def end(self, status: str = "FINISHED", within_s: float = 10.0) -> None:
        """Send what is left, for at most `within_s` seconds; `status` is one of MLflow's."""
        if self._thread is None:
            return
        self._status = status
        self._ending.set()
        self._thread.join(within_s)
        if self._run:
            write_beside(self._logs / RUN_FILE, self._run.id)

    def _work(self) -> None:
        ending, pause_s = False, 0.0
        while not ending:
            ending = self._ending.wait(pause_s)
            try:
                self._send()
                pause_s = _SEND_EVERY_S
            except (TextmillError, KeyError, ValueError, OSError) as error:
                self._warn(error)
                pause_s = _TRY_AGAIN_AFTER_S

    def _send(self) -> None:
        run = self._run = self._run or self._opened()
        while points := self._waiting():
            run.log([figure for point in points for figure in mlflow_run.figures(point.step, point.scalars)])
            with self._lock:
                del self._points[: len(points)]
        if self._samples_written and self._server.passes_on(run.artifacts):
            run.put_file(f"training/{SAMPLES}", self._logs / SAMPLES)
            self._samples_written = False
        if self._status and not self._joined:
            run.set_status(self._status)

    def _waiting(self) -> list[Point]:
        """The next points to send. A training that goes on takes some steps again; the run has their points already."""
        with self._lock:
            self._points = [point for point in self._points if point.step > self._logged]
            return self._points[:_AT_ONCE]

    def _opened(self) -> MlflowRun:
        run = self._found() or self._created()
        if run.tags.get(_TRAINING) == self._training:  # a joined run may hold the steps of another one
            self._logged = run.last_step
        run.log(parameters=self._parameters, tags={_TRAINING: self._training})
        return run

    def _found(self) -> MlflowRun | None:
        """The run to join: the one that the environment names, or that of this training if it was interrupted."""
        if self._joined:
            return MlflowRun.get(self._server, self._joined)
        query = f"tags.`{_TRAINING}` = '{self._training}'"
        body = {"experiment_ids": [self._server.experiment(self._experiment)], "filter": query, "max_results": 1}
        found = next(iter(self._server.call("POST", "runs/search", body).get("runs", [])), None)
        if found is None or found["info"]["status"] == "FINISHED":
            return None
        run = MlflowRun(self._server, found)
        run.set_status("RUNNING")
        return run

    def _created(self) -> MlflowRun:
        experiment = self._server.experiment(self._experiment)
        return MlflowRun.create(self._server, experiment, self._name, {_TRAINING: self._training})

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = error if isinstance(error, TextmillError) else type(error).__name__
            progress.note(
                "Metrics cannot be sent to MLflow now; training continues, and they are logged when the model is registered. "
                f"Reason: {reason}"
            )
