"""`textmill doctor` names what is missing, each with its cure."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textmill.cli import app
from textmill.commands.doctor import _clock
from textmill.registry.model_registry import ModelRegistry


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")


def _doctor(folder: Path, settings: str) -> tuple[int, list[str]]:
    (folder / "textmill.yaml").write_text(
        f"name: mill\nsources: [{{name: a, start: 'http://127.0.0.1:9/'}}]\n{settings}"
    )
    ran = CliRunner().invoke(app, ["doctor", "--config", str(folder / "textmill.yaml")])
    return ran.exit_code, ran.output.splitlines()


def test_a_port_a_folder_and_a_base_that_cannot_be_used_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        with ThreadingHTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler) as other:
            threading.Thread(target=other.serve_forever, daemon=True).start()
            settings = f"data_dir: /proc/mill\nserve: {{port: {port}}}\nmodel: {{base: 'hf:a/b'}}\n"
            code, lines = _doctor(tmp_path, settings)
            other.shutdown()
    assert code == 2
    wrong = "\n".join(line for line in lines if line.startswith("✗"))
    assert f"✗ port {port} on 127.0.0.1: Address already in use; stop the program that uses it" in wrong
    assert "✗ folder /proc/mill: /proc cannot be written to" in wrong
    assert "✗ base hf:a/b: The base hf:a/b could not be downloaded" in wrong
    assert "The article store at mongodb://127.0.0.1:9/" in wrong
    assert any(line.startswith("✓") and "of memory free" in line for line in lines)


def test_a_mistyped_target_is_named_with_the_near_one(tmp_path: Path) -> None:
    code, lines = _doctor(tmp_path, "serve: {split: {Stagin: 50}}\n")
    assert code == 2
    assert lines[-1].endswith("line 3: serve.split: 'Stagin' is not a valid target; did you mean 'Staging'?")


def test_a_clock_that_differs_from_mlflows_is_said(mlflow_uri: str) -> None:
    assert _clock(ModelRegistry(mlflow_uri, "mill").server.seconds_behind()).good
    assert not _clock(-3600).good
    assert _clock(3600).what == "clock 3,600 s behind MLflow's"
