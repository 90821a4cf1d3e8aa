import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from textmill.registry import mlflow_client
from textmill.settings.group import flat
from textmill.tracking import live_run
from textmill.tracking.live_run import RUN_FILE, LiveRun
from textmill.training.log import Point, Samples, TrainingLog

PATIENCE_S = 60
PARAMETERS = {"train": {"steps": 20, "batch": "auto"}, "corpus": {"articles": {"train": 57}}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_run, "_SEND_EVERY_S", 0.02)
    monkeypatch.setattr(live_run, "_TRY_AGAIN_AFTER_S", 0.02)
    monkeypatch.setattr(mlflow_client, "_ANSWER_WITHIN_S", PATIENCE_S)  # on a machine that runs other tests meanwhile
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a person is told."""
    said: list[str] = []
    monkeypatch.setattr(live_run.progress, "note", said.append)
    return said


def run_of(uri: str, logs: Path) -> dict[str, Any]:
    run_id = (logs / RUN_FILE).read_text("utf-8")
    found = requests.get(f"{uri}/api/2.0/mlflow/runs/get", {"run_id": run_id}, timeout=60).json()
    return dict(found["run"])


def steps_of(uri: str, run: dict[str, Any], metric: str) -> list[int]:
    parameters = {"run_id": run["info"]["run_id"], "metric_key": metric}
    found = requests.get(f"{uri}/api/2.0/mlflow/metrics/get-history", parameters, timeout=60).json()
    return sorted(int(each.get("step", 0)) for each in found["metrics"])


def runs_of(uri: str, experiment: str) -> list[dict[str, Any]]:
    """An experiment's runs, latest first."""
    root = f"{uri}/api/2.0/mlflow"
    found = requests.get(f"{root}/experiments/get-by-name", {"experiment_name": experiment}, timeout=60).json()
    if "experiment" not in found:
        return []
    body = {"experiment_ids": [found["experiment"]["experiment_id"]]}
    return list(requests.post(f"{root}/runs/search", json=body, timeout=60).json().get("runs", []))


def latest_samples(uri: str, experiment: str) -> list[str]:
    """The paths below `training` of the experiment's latest run."""
    root = f"{uri}/api/2.0/mlflow"
    runs = runs_of(uri, experiment)
    if not runs:
        return []
    parameters = {"run_id": runs[0]["info"]["run_id"], "path": "training"}
    artifacts = requests.get(f"{root}/artifacts/list", parameters, timeout=60).json()
    return [each["path"] for each in artifacts.get("files", [])]


def wait_until(happened: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_figures_and_samples_are_in_mlflow_while_the_training_runs(
    mlflow_uri: str, tmp_path: Path, notes: list[str]
) -> None:
    live = LiveRun(mlflow_uri, "live", "first run", tmp_path)
    live.begin("training-1", PARAMETERS)
    live.point(Point(0, held_out_loss=4.0))
    live.point(Point(10, 3.5, 3.0, 1e-3, 0.5, 1000.0))
    with TrainingLog(tmp_path, "") as log:
        log.add_samples(Samples(10, ("Mühle\n\nDas Rad.",)))
    live.samples(Samples(10, ()))

    wait_until(lambda: latest_samples(mlflow_uri, "live"))
    assert not (tmp_path / RUN_FILE).exists()  # the training has not ended
    live.end(within_s=PATIENCE_S)

    run = run_of(mlflow_uri, tmp_path)
    assert (run["info"]["run_name"], run["info"]["status"]) == ("first run", "FINISHED")
    assert {each["key"]: each["value"] for each in run["data"]["params"]} == {
        "train.steps": "20",
        "train.batch": "auto",
        "corpus.articles.train": "57",
    }
    assert steps_of(mlflow_uri, run, "held_out_loss") == [0, 10]
    assert steps_of(mlflow_uri, run, "tokens_per_second") == [10]
    text = requests.get(
        f"{mlflow_uri}/get-artifact", {"path": "training/samples.txt", "run_uuid": run["info"]["run_id"]}, timeout=60
    )
    assert text.content.decode("utf-8") == "=== step 10\nMühle\n\nDas Rad.\n\n"
    assert notes == []


def test_an_interrupted_training_goes_on_in_its_run_and_another_does_not(mlflow_uri: str, tmp_path: Path) -> None:
    runs = []
    for number, (training, status, steps) in enumerate(
        [("a", "KILLED", [10, 20]), ("a", "FINISHED", [20, 30]), ("a", "FINISHED", [10]), ("b", "FINISHED", [10])]
    ):
        live = LiveRun(mlflow_uri, "goes-on", f"run {number}", tmp_path)
        live.begin(training, {})
        for step in steps:
            live.point(Point(step, loss=1.0))
        live.end(status, PATIENCE_S)
        runs.append(run_of(mlflow_uri, tmp_path))
    assert runs[0]["info"]["run_id"] == runs[1]["info"]["run_id"]
    assert steps_of(mlflow_uri, runs[1], "loss") == [10, 20, 30]
    assert len({run["info"]["run_id"] for run in runs}) == 3


def test_steps_taken_again_after_the_run_was_found_are_not_logged_twice(mlflow_uri: str, tmp_path: Path) -> None:
    killed = LiveRun(mlflow_uri, "again", "killed", tmp_path)
    killed.begin("a", {})
    killed.point(Point(10, loss=1.0))
    killed.point(Point(20, loss=1.0))
    killed.end("KILLED", PATIENCE_S)
    resumed = LiveRun(mlflow_uri, "again", "resumed", tmp_path)
    resumed.begin("a", {})
    wait_until(lambda: runs_of(mlflow_uri, "again")[0]["info"]["status"] == "RUNNING")
    for step in (10, 20, 30):  # the checkpoint was of step 0
        resumed.point(Point(step, loss=1.0))
    resumed.end(within_s=PATIENCE_S)
    assert steps_of(mlflow_uri, run_of(mlflow_uri, tmp_path), "loss") == [10, 20, 30]


def test_the_run_that_the_environment_names_is_joined(
    mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = requests.post(f"{mlflow_uri}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, timeout=60).json()
    monkeypatch.setenv("MLFLOW_RUN_ID", created["run"]["info"]["run_id"])
    live = LiveRun(mlflow_uri, "elsewhere", "another", tmp_path)
    live.begin("c", {"a": 1})
    live.point(Point(10, loss=1.0))
    live.end(within_s=PATIENCE_S)
    run = run_of(mlflow_uri, tmp_path)
    assert run["info"]["run_id"] == created["run"]["info"]["run_id"]
    assert run["info"]["status"] == "RUNNING"  # whoever opened it ends it
    assert steps_of(mlflow_uri, run, "loss") == [10]
    another = LiveRun(mlflow_uri, "elsewhere", "another", tmp_path)
    another.begin("d", {})
    another.point(Point(5, loss=1.0))
    another.end(within_s=PATIENCE_S)
    assert steps_of(mlflow_uri, run_of(mlflow_uri, tmp_path), "loss") == [5, 10]  # of two trainings in one run


class _Silent(BaseHTTPRequestHandler):
    """Takes requests and never answers."""

    taken = 0

    def do_GET(self) -> None:
        _Silent.taken += 1
        threading.Event().wait(300)


@pytest.fixture
def silent_uri() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()
        server.block_on_close = False


def test_a_silent_server_neither_slows_nor_stops_and_is_told_of_once(
    silent_uri: str, tmp_path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_client, "_ANSWER_WITHIN_S", 0.1)
    taken, started = _Silent.taken, time.monotonic()
    live = LiveRun(silent_uri, "silent", "run", tmp_path)
    live.begin("d", PARAMETERS)
    for step in range(1000):
        live.point(Point(step, loss=1.0))
    assert time.monotonic() - started < 20  # the answer to one of them takes the server 300
    wait_until(lambda: notes and _Silent.taken > taken + 2)
    began = time.monotonic()
    live.end(within_s=1)
    assert time.monotonic() - began < 20
    (note,) = notes
    assert note.startswith("Metrics cannot be sent to MLflow now; training continues")
    assert "does not answer (ReadTimeout)" in note
    assert "secret" not in note
    assert not (tmp_path / RUN_FILE).exists()


def test_a_refusal_is_told_without_the_password(tmp_path: Path, notes: list[str], mlflow_uri: str) -> None:
    address = mlflow_uri.replace("http://", "http://user:secret@")
    live = LiveRun(f"{address}/elsewhere", "x", "run", tmp_path)
    live.begin("e", {})
    live.end(within_s=PATIENCE_S)
    (note,) = notes
    assert "secret" not in note


def test_settings_are_named_by_where_they_stand() -> None:
    assert flat(PARAMETERS) == {"train.steps": 20, "train.batch": "auto", "corpus.articles.train": 57}
