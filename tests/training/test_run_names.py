"""TensorBoard's runs are named after their start, version and shape; a resumed training is one run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import requests
from local_servers import PATIENCE_S, free_port, stop

from textmill.local_servers import run_names
from textmill.training.log import Point, TrainingLog


def _train(folder: Path, training: str, started: str, points: int, shape: tuple[int, int] = (4, 128)) -> None:
    history = [Point(step, loss=5 - step / 10, held_out_loss=5.0) for step in range(points)]
    with TrainingLog(folder, "settings", history):
        run_names.describe(folder, training, *shape)
    about = json.loads((folder / "run.json").read_text("utf-8")) | {"started": started}
    (folder / "run.json").write_text(json.dumps(about), "utf-8")


def test_runs_are_named_and_a_resumed_training_is_one(tmp_path: Path) -> None:
    logs, names = tmp_path / "pipeline" / "run", tmp_path / "trainings"
    _train(logs / "3", "one", "2026-11-28T07:56:10+00:00", 3)
    run_names.refresh(logs, names)
    assert [each.name for each in names.iterdir()] == ["2026-11-28 07.56 4x128"]
    _train(logs / "7", "one", "2026-11-28T09:00:00+00:00", 6)
    run_names.registered(logs / "7", 1)
    _train(logs / "9", "two", "2026-11-28T07:56:40+00:00", 2, (3, 96))
    (logs / "11").mkdir()  # of an older release
    run_names.refresh(logs, names)
    run_names.refresh(logs, names)
    found = {each.name: each.resolve().name for each in names.iterdir()}
    assert found.pop("2026-11-28 07.56 v1 4x128") == "7"
    assert found.pop("2026-11-28 07.56 3x96") == "9"
    assert list(found.values()) == ["11"]


def test_tensorboard_shows_the_names(tmp_path: Path) -> None:
    _train(tmp_path / "logs" / "3", "one", "2026-11-28T07:56:10+00:00", 3)
    run_names.registered(tmp_path / "logs" / "3", 1)
    port = free_port()
    command = [sys.executable, "-m", "textmill.local_servers.tensorboard", "logs", "--logdir", "names"]
    options = ["--port", str(port), "--reload_interval", "1"]
    process = subprocess.Popen([*command, *options], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end, runs = time.monotonic() + PATIENCE_S, []
        while not runs and process.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
            try:
                runs = requests.get(f"http://127.0.0.1:{port}/data/runs", timeout=30).json()
            except requests.RequestException:  # it is still starting
                continue
        assert runs == ["2026-11-28 07.56 v1 4x128"]
    finally:
        stop(process)
