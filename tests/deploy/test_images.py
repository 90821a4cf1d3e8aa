"""The images that serve, run as they are deployed: read-only, without rights, a request through both.

They run where podman is and `make images` has built them: on a machine of its own, since building takes minutes.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from textmill.gpt2 import bundle, tokenizer, weights
from textmill.gpt2.architecture import Architecture

LOCKED = ["--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
IMAGES = os.environ.get("IMAGES", "localhost")
TAG = os.environ.get("TAG", "0.1.0")
WORKER, API = 18_141, 18_140
CONFIG = f"""
name: tiny
data_dir: /data
sources: [{{name: tiny, start: "http://127.0.0.1/"}}]
serve: {{port: {API}, worker_urls: ["dns:http://localhost:{WORKER}"]}}
"""


def _podman(*arguments: str) -> str:
    ran = subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def _engine() -> None:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    if not os.environ.get("TEXTMILL_TRY_IMAGES"):
        pytest.skip("set TEXTMILL_TRY_IMAGES=1 after 'make images ONLY=\"api worker\"'")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    own = tokenizer.train_bpe(["the mill stands by the stream and grinds the grain"], 300)
    architecture = Architecture(own.vocabulary, 64, 1, 2, 16)
    made = folder / "model"
    bundle.write_bundle(made, weights.initial(architecture), architecture, own, {}, {"name": "tiny"}, "# tiny")
    return made


@pytest.fixture(scope="module")
def containers(_engine: None, model: Path) -> Iterator[dict[str, str]]:
    """The ids of an API and a worker that run."""
    config = model.parent / "textmill.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    mounted = f"--volume={config}:/etc/textmill/textmill.yaml:ro"
    worker = ["run", "-d", *LOCKED, "--memory=1g", f"--volume={model}:/model:ro", f"{IMAGES}/textmill-worker:{TAG}"]
    started = {"worker": _podman(*worker, "--port", str(WORKER), "--slots", "2")}
    started["api"] = _podman("run", "-d", *LOCKED, "--memory=1g", mounted, f"{IMAGES}/textmill-api:{TAG}")
    yield started
    for each in started.values():
        subprocess.run(["podman", "rm", "-f", each], capture_output=True)


def _ask(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{API}{path}", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, json.dumps(body).encode() if body else None, timeout=60) as answer:
        return dict(json.loads(answer.read()))


def _ready() -> dict[str, Any]:
    for _ in range(120):
        try:
            return _ask("/readyz")
        except OSError:
            time.sleep(0.5)
    raise AssertionError("The API is not ready.")


def test_an_article_comes_from_the_worker_in_the_other_container(containers: dict[str, str]) -> None:
    assert _ready()["model"]["name"] == "tiny"
    answer = _ask("/v1/articles", {"topic": "The mill", "seed": 7, "max_tokens": 8})
    assert answer["model"]["name"] == "tiny"
    assert answer["tokens"] == 8


def test_containers_end_well_when_they_are_told_to(containers: dict[str, str]) -> None:
    for each in containers.values():
        _podman("stop", "-t", "20", each)
        assert _podman("inspect", "-f", "{{.State.ExitCode}}", each) == "0"
