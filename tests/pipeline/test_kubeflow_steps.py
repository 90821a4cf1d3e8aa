"""The compiled file executed step by step, by the protocol of each version of Kubeflow Pipelines, ends as a local run does."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from kubeflow_cluster import LOGS, PROTOCOLS, RUN, Cluster
from projects import Project, project
from warm_steps import Command, run_in_own_process, started, warm_process

from textmill.articles.store import ArticleStore
from textmill.console import progress
from textmill.ground.environment import MLFLOW, MONGODB
from textmill.ground.errors import UserError
from textmill.settings import yaml_file as configuration
from textmill.training import checkpoint_file
from textmill.training.checkpoints import LAST

STEPS = 40
IMAGE = "registry.example/textmill@sha256:" + "ab" * 32

pytestmark = pytest.mark.timeout(1800)  # ten processes one after another import TFX


@pytest.fixture(scope="module")
def crawled(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mlflow_uri: str, millpond: ModuleType
) -> Iterator[Project]:
    """A project that has been crawled, set up for Kubeflow."""
    with project("on-kubeflow", tmp_path_factory.mktemp("flow"), 60, mongodb_uri, mlflow_uri, millpond) as crawled:
        with (crawled.folder / "textmill.yaml").open("a", encoding="utf-8") as file:
            file.write(f"kubeflow:\n  image: {IMAGE}\n  retries: 1\n")
        crawled.type("crawl")
        yield crawled


@pytest.fixture(scope="module")
def compiled(crawled: Project) -> Path:
    printed = crawled.type("kubeflow", "compile", "--out", "pipeline.yaml")
    assert "pipeline.yaml" in printed
    return crawled.folder / "pipeline.yaml"


@pytest.fixture(scope="module")
def secrets(crawled: Project) -> dict[str, dict[str, str]]:
    return {"textmill": {name: crawled.environment[name] for name in (MONGODB, MLFLOW)}}


@pytest.fixture(scope="module")
def cluster(crawled: Project, compiled: Path, secrets: dict[str, dict[str, str]]) -> Cluster:
    """A cluster on which the pipeline has run once, for fewer steps than the configuration says."""
    cluster = Cluster(crawled.folder / "cluster", secrets)
    cluster.run(compiled, {"steps": STEPS, "sources": "millpond"})
    return cluster


def test_the_steps_end_in_a_registered_version(cluster: Cluster, crawled: Project) -> None:
    (version,) = crawled.registry.versions()
    assert version.stage == "Staging"
    assert cluster.artifacts["FineTune.model"]["uri"].startswith("minio://mlpipeline/")
    assert cluster.artifacts["FineTune.model"]["metadata"]["checksum"] == version.checksum
    assert cluster.artifacts["Evaluate.blessing"]["metadata"]["blessed"] == 1


def test_the_steps_run_by_every_protocol(
    cluster: Cluster, crawled: Project, compiled: Path, secrets: dict[str, dict[str, str]]
) -> None:
    with warm_process() as execute:
        for version, protocol in PROTOCOLS.items():
            if protocol is cluster.protocol:
                continue
            other = Cluster(crawled.folder / f"cluster-{version}", secrets, protocol, execute)
            other.run(compiled, {"steps": STEPS, "sources": "millpond"})
            assert other.artifacts.keys() == cluster.artifacts.keys()
            checksums = [each.artifacts["FineTune.model"]["metadata"]["checksum"] for each in (cluster, other)]
            assert checksums[0] == checksums[1], version
    assert len(crawled.registry.versions()) == 1  # the very model each time


def test_a_fine_tune_whose_pod_is_killed_goes_on_from_its_checkpoint_in_the_next(
    cluster: Cluster, compiled: Path
) -> None:
    def last_step() -> int:
        found = [0]
        for path in (cluster.folder / "volume").rglob(LAST):
            with suppress(UserError):  # replaced while it was being read
                found.append(int(checkpoint_file.load(path, values_only=True).values["step"]))
        return max(found)

    killed_at: list[int] = []

    def execute(command: Command) -> int:
        if killed_at:  # the next pod's log is to have what a terminal would show
            return run_in_own_process(replace(command, variables=command.variables | {progress._VARIABLE: "2"}))
        with started(command) as process:
            while last_step() < 100:
                assert process.poll() is None, command.log.read_text("utf-8")[-3000:]
                time.sleep(0.05)
            process.kill()
            process.wait()
        killed_at.append(last_step())
        return -signal.SIGKILL

    left_out = ("FineTune", "Evaluate", "Register")
    done = {step: log for step, log in cluster.logs.items() if step not in left_out}
    again = Cluster(cluster.folder, cluster.secrets, cluster.protocol, execute, dict(cluster.artifacts), done)
    again.run(compiled, {"steps": 1000, "sources": "millpond"}, until="FineTune")
    assert f"resuming from step {killed_at[0]} of 1000" in again.logs["FineTune"]


def test_the_launchers_log_is_a_file_and_stays_its_own(cluster: Cluster) -> None:
    logs = list((cluster.folder / "bucket").rglob(f"{LOGS}*"))
    assert len(logs) >= len(cluster.logs)
    assert all(log.is_file() for log in logs)


def test_the_run_in_mlflow_has_the_name_of_the_one_on_kubeflow(cluster: Cluster, crawled: Project) -> None:
    import requests

    run = crawled.registry.version(1).run_id
    answer = requests.get(
        f"{crawled.registry.tracking_uri}/api/2.0/mlflow/runs/get", {"run_id": run}, timeout=60
    ).json()["run"]
    assert answer["info"]["run_name"] == RUN


def test_the_model_is_the_one_that_a_local_run_makes(cluster: Cluster, crawled: Project) -> None:
    file = crawled.folder / "textmill.yaml"
    file.write_text(file.read_text("utf-8").replace("steps: 60", f"steps: {STEPS}"), "utf-8")
    config = configuration.load(file)
    snapshots = ArticleStore.connect(crawled.environment[MONGODB], config.store.database).snapshots
    assert [each["_id"] for each in snapshots.find()] == [1]
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.local", "--config", str(file), "--snapshot", "1"],
        env={**os.environ, **crawled.environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(crawled.registry.versions()) == 1  # it is the very model that is registered already
    (local,) = config.data_dir.glob("pipeline/artifacts/FineTune/model/*/model.safetensors")
    assert _weights(local) == _weights(cluster.in_bucket(cluster.artifacts["FineTune.model"]["uri"]))


def _weights(place: Path) -> str:
    file = place / "model.safetensors" if place.is_dir() else place
    return hashlib.sha256(file.read_bytes()).hexdigest()
