"""SIGKILL in the middle of FineTune: the next run continues at that step, and ends with the weights of an unbroken one."""

import hashlib
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import requests
from projects import Project, project

from textmill.ground.errors import UserError
from textmill.training import checkpoint_file
from textmill.training.checkpoints import LAST

# a locale without UTF-8, as in a bare container; what is printed is UTF-8 so that it can be read here
ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}

pytestmark = pytest.mark.timeout(1800)  # three runs one after another


@pytest.fixture(scope="module")
def crawled(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mlflow_uri: str, millpond: ModuleType
) -> Iterator[Project]:
    """A project that has been crawled, with a training long enough to be killed."""
    with project("killed", tmp_path_factory.mktemp("killed"), 1000, mongodb_uri, mlflow_uri, millpond) as made:
        crawled = replace(made, environment=made.environment | ASCII_LOCALE)
        crawled.type("crawl")
        yield crawled


def _last_step(folder: Path) -> int:
    """The step of the last checkpoint of the one training in a project's folder; 0 where there is none."""
    for path in folder.glob(f".textmill/checkpoints/*/{LAST}"):
        try:
            return int(checkpoint_file.load(path, values_only=True).values["step"])
        except UserError:  # replaced while it was being read
            return 0
    return 0


def _kill_in_the_middle(project: Project) -> int:
    """Run until some steps are taken, kill every process at once, and return the step of the last checkpoint."""
    command = project.start("run")
    while _last_step(project.folder) < 100:
        assert command.poll() is None, command.communicate()
        time.sleep(0.05)
    for process in [*psutil.Process(command.pid).children(recursive=True), command]:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    command.communicate()
    return _last_step(project.folder)


def _train(project: Project) -> tuple[str, str]:
    """Run until FineTune has ended, and return what was printed and the SHA-256 of the weights."""
    command = project.start("run")
    printed = ""
    assert command.stdout is not None
    for line in command.stdout:
        printed += line
        if line.startswith("✓ FineTune"):
            break
    command.send_signal(signal.SIGINT)
    _, error = command.communicate(timeout=180)
    assert "✓ FineTune" in printed, printed + error
    (weights,) = project.folder.glob(".textmill/pipeline/artifacts/FineTune/model/*/model.safetensors")
    return printed, hashlib.sha256(weights.read_bytes()).hexdigest()


def _mlflow(project: Project, path: str, **parameters: str) -> dict[str, Any]:
    answer = requests.get(f"{project.registry.tracking_uri}/api/2.0/mlflow/{path}", parameters, timeout=60)
    return dict(answer.json())


def _runs(project: Project) -> list[dict[str, Any]]:
    experiment = _mlflow(project, "experiments/get-by-name", experiment_name=project.registry.name)["experiment"]
    url = f"{project.registry.tracking_uri}/api/2.0/mlflow/runs/search"
    return list(requests.post(url, json={"experiment_ids": [experiment["experiment_id"]]}, timeout=60).json()["runs"])


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(crawled: Project, tmp_path: Path) -> None:
    step = _kill_in_the_middle(crawled)
    assert 100 <= step < 1000
    printed, weights = _train(crawled)
    assert f"resuming from step {step} of 1000" in printed
    (run,) = _runs(crawled)  # the same run went on in MLflow
    steps = [
        int(metric.get("step", 0))
        for metric in _mlflow(crawled, "metrics/get-history", run_id=run["info"]["run_id"], metric_key="loss")[
            "metrics"
        ]
    ]
    assert sorted(steps) == list(range(10, 1001, 10))

    (tmp_path / "textmill.yaml").write_text((crawled.folder / "textmill.yaml").read_text("utf-8"), "utf-8")
    assert _train(replace(crawled, folder=tmp_path))[1] == weights


def test_samples_are_utf_8_in_a_locale_that_is_not(crawled: Project) -> None:
    (samples,) = (path for path in crawled.folder.glob(".textmill/pipeline/artifacts/FineTune/run/*/samples.txt"))
    text = samples.read_bytes().decode("utf-8")
    assert "=== step 1000\n" in text
