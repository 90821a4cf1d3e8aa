"""The way of a model against an MLflow that asks for a login, and against one that stands behind a path."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from empty_versions import register_empty
from judged_models import LINEAGE, register_judged
from local_servers import free_port
from mlflow_servers import ADMIN, PASSWORD, Mlflow, mlflow_servers
from server_processes import Server, write_config
from tiny_models import write_model
from typer.testing import CliRunner

from textmill.cli import app
from textmill.gpt2.formats import bundle
from textmill.registry.model_registry import ModelRegistry
from textmill.tracking.live_run import RUN_FILE, LiveRun
from textmill.training.log import Point

pytestmark = pytest.mark.timeout(1800)  # two servers start, which takes minutes on a busy machine
PATIENCE_S = 300
TEXTMILL = [sys.executable, "-c", "from textmill.cli import main; main()"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Mlflow]]:
    with mlflow_servers(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


@pytest.fixture(params=["login", "prefix"])
def server(
    servers: dict[str, Mlflow], request: pytest.FixtureRequest, mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Mlflow:
    """Each of the two, named by the environment as a user names it."""
    found = servers[request.param]
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    environment = {"TEXTMILL_MONGODB_URI": mongodb_uri, "MLFLOW_TRACKING_URI": found.uri, "COLUMNS": "200"}
    for name, value in {**environment, **found.environment}.items():
        monkeypatch.setenv(name, value)
    return found


def _type(*arguments: str) -> str:
    ran = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    return ran.output


def _told(registry: ModelRegistry, folder: Path, seed: int) -> Path:
    """The folder of the logs of a training that has told MLflow of itself."""
    logs = folder / f"logs-{seed}"
    logs.mkdir()
    live = LiveRun(registry.tracking_uri, registry.name, "a run", logs)
    live.begin(f"training-{registry.name}-{seed}", {"train": {"steps": 3}})
    live.point(Point(0, held_out_loss=5.5))
    live.end(within_s=PATIENCE_S)
    assert (logs / RUN_FILE).exists()
    return logs


def _trained(registry: ModelRegistry, folder: Path, seed: int) -> int:
    """Register a model as a run does."""
    model = write_model(folder / f"model-{seed}", seed, LINEAGE)
    return register_judged(registry, model, _told(registry, folder, seed))


def test_a_model_goes_all_the_way(server: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, name="tiny", follow_s=0.2, port=free_port())
    registry = ModelRegistry(server.uri, "tiny")
    assert [_trained(registry, tmp_path, seed) for seed in (1, 2)] == [1, 2]

    assert "2.0000" in _type("status")
    _type("promote", "1", "--why", "it reads well")
    with _serving(tmp_path) as serving:
        assert serving.readiness()["model"]["version"] == 1
        _type("promote", "2", "--why", "it reads better")
        serving.wait_until(lambda said: said["model"]["version"] == 2, PATIENCE_S)
        _type("rollback", "--why", "it does not")
        serving.wait_until(lambda said: said["model"]["version"] == 1, PATIENCE_S)
    assert _pulled(tmp_path) == registry.version(1).checksum
    assert _mirrored(server, 2) == "version 2: Archived -> Production, moved in MLflow"
    assert "it does not" in _type("history")
    assert "Nothing to do" in _type("watch", "--once")
    assert _type("doctor").count("✗") == 0


@contextmanager
def _serving(folder: Path) -> Iterator[Server]:
    """`textmill serve`, until the block ends."""
    port = free_port()
    with (folder / "serve.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*TEXTMILL, "serve", "--port", str(port)], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout
        assert any(f":{port}" in line for line in process.stdout), (folder / "serve.log").read_text(encoding="utf-8")
        yield Server(f"http://127.0.0.1:{port}", process, folder / "serve.log")
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def _pulled(folder: Path) -> str:
    """The checksum of what a worker's container fetches."""
    command = [sys.executable, "-P", "-m", "serving.rollout.pull", "--into", str(folder / "pulled"), "--name", "tiny"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr
    return bundle.verify(Path(ran.stdout.strip()))


def _mirrored(server: Mlflow, number: int) -> str:
    """Move an alias as MLflow's page does; what `textmill mirror` says of it, without the time."""
    running = subprocess.Popen([*TEXTMILL, "mirror"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout
    try:
        assert "Mirroring" in running.stdout.readline()
        body = {"name": "tiny", "alias": "production", "version": str(number)}
        address = f"{server.uri}/api/2.0/mlflow/registered-models/alias"
        requests.post(address, json=body, auth=server.login, timeout=60).raise_for_status()
        said = running.stdout.readline()
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=PATIENCE_S)
    return said.strip().partition(" ")[2]


def test_a_registration_takes_few_requests(server: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = ModelRegistry(server.uri, "counted")
    registry.promote(_trained(registry, tmp_path, 1), "the first")
    model, logs = write_model(tmp_path / "model-2", 2, LINEAGE), _told(registry, tmp_path, 2)
    asked: Counter[str] = Counter()
    send = requests.Session.send

    def counted(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        path = str(request.path_url).partition("?")[0].partition("/api/2.0/")[2]
        asked["a file" if path.startswith("mlflow-artifacts/") else path] += 1
        return send(session, request, **options)

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "send", counted)
        number = register_judged(registry, model, logs)

    files = asked.pop("a file")
    assert asked.total() < 15, asked
    assert files < 20
    query = {"run_id": registry.version(number).run_id}
    run = requests.get(f"{server.uri}/api/2.0/mlflow/runs/get", query, auth=server.login, timeout=60).json()["run"]
    logged = {each["key"]: (each["value"], int(each.get("step", 0))) for each in run["data"]["metrics"]}
    assert (logged["held_out_loss"], logged["loss"], logged["bits_per_byte"]) == ((5.5, 0), (5.0, 1), (2.0, 0))
    assert {each["key"]: each["value"] for each in run["data"]["params"]} == {"train.steps": "3"}
    assert {each["key"]: each["value"] for each in run["data"]["tags"]}["textmill.snapshot"] == "1"
    assert run["info"]["status"] == "FINISHED"


def test_mlflow_loads_a_registered_model_with_nothing_of_ours_installed(server: Mlflow, tmp_path: Path) -> None:
    registry = ModelRegistry(server.uri, "loaded")
    _trained(registry, tmp_path, 1)
    program = (
        "import sys; sys.path = [p for p in sys.path if not os.path.exists(os.path.join(p, 'textmill'))];"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f)];"
        "import mlflow; model = mlflow.pyfunc.load_model('models:/loaded/1'); print(len(model.predict(['abc'])));"
        "import textmill; print(textmill.__file__)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", f"import os; {program}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr
    count, file = ran.stdout.splitlines()[-2:]
    assert (count, "textmill.zip" in file) == ("1", True)


def test_who_may_not_is_told_so_in_a_sentence(servers: dict[str, Mlflow], tmp_path: Path, mongodb_uri: str) -> None:
    uri = servers["login"].uri
    write_config(tmp_path, name="forbidden")
    owner = ModelRegistry(uri.replace("//", f"//{ADMIN}:{PASSWORD}@"), "forbidden")
    assert PASSWORD not in owner.server.shown
    register_empty(owner, 1)

    def said(*command: str, **login: str) -> str:
        environment = {"TEXTMILL_MONGODB_URI": mongodb_uri, "MLFLOW_TRACKING_URI": uri, **login}
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert ran.returncode == 2, ran.stderr
        return ran.stderr.strip()

    status = (*TEXTMILL[1:], "status")
    assert said(*status) == (
        f"textmill: MLflow at {uri} requires a login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
        "or MLFLOW_TRACKING_TOKEN."
    )
    wrong = said(*status, MLFLOW_TRACKING_USERNAME="writer", MLFLOW_TRACKING_PASSWORD="not-the-password")
    assert "refuses this login; check MLFLOW_TRACKING_USERNAME" in wrong
    assert "not-the-password" not in wrong
    pull = ("-P", "-m", "serving.rollout.pull", "--into", str(tmp_path / "pulled"), "--name", "forbidden")
    assert "requires a login" in said(*pull)
    assert "requires a login" in said("-P", "-m", "serving.server", "--port", "0")
    forbidden = said(*TEXTMILL[1:], "promote", "1", "--why", "I want it", **servers["login"].environment)
    assert "forbids model-versions/transition-stage (Permission denied)" in forbidden
