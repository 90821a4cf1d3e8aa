"""The server's process: how it starts, what it refuses to start with, how it ends, what it imports."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from server_processes import Server, write_config

from serving.app import create_app
from serving.routing.router import WorkerRouter
from serving.server import _listen as listen
from textmill.settings import yaml_file as configuration

CONFIG = """name: tiny
sources:
  - name: mills
    start: http://127.0.0.1:1/
serve:
  port: {port}
"""


def run(directory: Path, *arguments: object, port: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to end by itself."""
    (directory / "textmill.yaml").write_text(CONFIG.format(port=port or 8000), encoding="utf-8")
    command = [sys.executable, "-m", "serving.server", "--config", str(directory / "textmill.yaml")]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, **environment},
    )


def test_a_port_in_use_is_named_with_the_cure(tmp_path: Path, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(tmp_path, "--bundle", model, port=port)
    assert ended.returncode == 2
    assert f"Port {port} on 127.0.0.1 cannot be used (Address already in use)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_follows_an_answers_head_does_not_wait_for_the_client_to_acknowledge_it() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_damaged_bundle_is_not_served(tmp_path: Path, model: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    with (damaged / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    ended = run(tmp_path, "--bundle", damaged, "--port", 0)
    assert ended.returncode == 2
    assert f"The model bundle at {damaged} is damaged: model.safetensors does not match its checksum" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_directory_that_is_no_bundle_is_not_served(tmp_path: Path) -> None:
    ended = run(tmp_path, "--bundle", tmp_path, "--port", 0)
    assert (ended.returncode, "is not a model bundle" in ended.stderr) == (2, True)


def test_a_registry_that_never_answers_is_given_up_within_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        ended = run(tmp_path, "--port", 0, MLFLOW_TRACKING_URI=address)
    assert ended.returncode == 2
    assert address in ended.stderr
    assert (
        time.monotonic() - began < 90
    )  # fifteen of them for the answer, the rest for Python's start on a busy machine


def test_an_empty_stage_is_named_with_the_cure(tmp_path: Path, mlflow_uri: str) -> None:
    ended = run(tmp_path, "--port", 0, MLFLOW_TRACKING_URI=mlflow_uri)
    assert ended.returncode == 2
    assert ended.stderr == (
        "textmill: No version of 'tiny' is in stage 'Production'. Promote one with 'textmill promote VERSION'.\n"
    )


def test_a_mistyped_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(CONFIG.format(port=8000) + "  slot: 3\n", encoding="utf-8")
    ended = run(tmp_path, "--config", tmp_path / "wrong.yaml")
    assert (ended.returncode, "did you mean 'slots'" in ended.stderr) == (2, True)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_server_at_once_and_frees_its_port(
    start: Callable[..., Server], sent: signal.Signals, code: int
) -> None:
    began = time.monotonic()
    server = start()
    start_s = time.monotonic() - began
    began = time.monotonic()
    server.process.send_signal(sent)
    assert server.process.wait(timeout=120) == code
    assert time.monotonic() - began < 5 + 2 * start_s  # within five, but on a machine that runs other tests meanwhile
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/healthz")


def test_a_signal_ends_even_a_server_that_writes_without_end(start: Callable[..., Server]) -> None:
    server = start(max_tokens=1_000_000)
    request = {"topic": "abc", "max_tokens": 1_000_000, "temperature": 0, "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/articles", json=request, timeout=30) as response:
        next(response.iter_lines())
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=120) == 0


def test_until_a_model_is_loaded_the_server_lives_but_is_not_ready(tmp_path: Path) -> None:
    config = configuration.load(write_config(tmp_path, hosts=["*"]))
    with TestClient(create_app(WorkerRouter(max_tokens=10), config)) as client:
        assert client.get("/healthz").status_code == 200
        for response in (client.get("/readyz"), client.post("/v1/articles", json={"topic": "abc"})):
            assert response.status_code == 503
            assert response.json()["error"]["type"] == "not_ready"
            assert int(response.headers["retry-after"]) > 0


def test_serving_imports_nothing_that_trains() -> None:
    heavy = ("tensorflow", "tfx", "keras", "keras_hub", "mlflow", "apache_beam", "onnx", "scrapy", "torch")
    code = f"import sys, serving.app, serving.server; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180)
    assert found.stdout.strip() == "[]"
