"""The images, run as they are deployed: read-only and without rights; a request through the two that serve.

They run where podman is, after `make images` (or .ci/images), those of them that are there; building takes minutes.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from textmill.gpt2 import tokenizer, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle

LOCKED = ["--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
IMAGES = os.environ.get("IMAGES", "localhost")
TAG = os.environ.get("TAG", "0.1.0")
WORKER, API, MLFLOW = 18_141, 18_140, 18_142
CONFIG = f"""
name: tiny
data_dir: /data
sources: [{{name: tiny, start: "http://127.0.0.1/"}}]
serve: {{port: {API}, worker_urls: ["dns:http://localhost:{WORKER}"]}}
"""
TRAINING = """
name: tiny
text: /corpus.txt
model: {layers: 1, heads: 2, width: 16, window: 32}
tokenizer: {kind: characters}
train: {steps: 4, batch: 4, eval_every: 2, sample_every: 4}
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


def _image(name: str) -> str:
    image = f"{IMAGES}/textmill-{name}:{TAG}"
    if subprocess.run(["podman", "image", "exists", image]).returncode:
        pytest.skip(f"{image} is not built")
    return image


def _run(name: str, *arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """A container's whole life."""
    command = ["podman", "run", "--rm", *LOCKED, "--memory=2g", *options, _image(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


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
    worker = ["run", "-d", *LOCKED, "--memory=1g", f"--volume={model}:/model:ro", _image("worker")]
    started = {"worker": _podman(*worker, "--port", str(WORKER), "--slots", "2")}
    started["api"] = _podman("run", "-d", *LOCKED, "--memory=1g", mounted, _image("api"))
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


def test_a_worker_that_waits_for_its_registry_ends_when_it_is_told_to(_engine: None) -> None:
    address = "--env=MLFLOW_TRACKING_URI=http://127.0.0.1:9"
    started = _podman("run", "-d", *LOCKED, address, "--env=TEXTMILL_MODEL_NAME=tiny", _image("worker"))
    try:
        time.sleep(1)  # Python is still importing, or it waits
        began = time.monotonic()
        _podman("stop", "-t", "20", started)
        assert time.monotonic() - began < 10
        assert _podman("inspect", "-f", "{{.State.ExitCode}}", started) == "143"
    finally:
        subprocess.run(["podman", "rm", "-f", started], capture_output=True)


def test_the_crawler_says_which_store_does_not_answer(_engine: None, model: Path) -> None:
    config = model.parent / "crawl.yaml"
    config.write_text("name: tiny\ndata_dir: /data\nsources: [{name: tiny, start: 'http://127.0.0.1/'}]\n", "utf-8")
    mounted = f"--volume={config}:/etc/textmill/textmill.yaml:ro"
    ended = _run("crawl", options=[mounted, "--env=TEXTMILL_MONGODB_URI=mongodb://127.0.0.1:9/"])
    assert ended.returncode == 2
    assert "The article store at mongodb://127.0.0.1:9/ does not answer" in ended.stderr


def test_a_text_becomes_a_checkpoint_folder(_engine: None, model: Path) -> None:
    text, out, config = (model.parent / name for name in ("corpus.txt", "checkpoint", "train.yaml"))
    text.write_text("The mill stands by the stream and grinds the grain.\n" * 200, encoding="utf-8")
    out.mkdir()
    out.chmod(0o777)
    config.write_text(TRAINING, encoding="utf-8")
    mounts = [f"--volume={text}:/corpus.txt:ro", f"--volume={out}:/checkpoint", f"--volume={config}:/train.yaml:ro"]
    ended = _run("train", "--config", "/train.yaml", options=mounts)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (out / "model" / bundle.MANIFEST).exists()


def test_mlflow_answers(_engine: None) -> None:
    started = _podman("run", "-d", *LOCKED, "--memory=2g", _image("mlflow"), "--port", str(MLFLOW))
    try:
        for _ in range(120):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{MLFLOW}/health", timeout=5) as answer:
                assert answer.read() == b"OK"
                break
            time.sleep(0.5)
        else:
            raise AssertionError(_podman("logs", started))
        _podman("stop", "-t", "20", started)
        assert _podman("inspect", "-f", "{{.State.ExitCode}}", started) in ("0", "143")
    finally:
        subprocess.run(["podman", "rm", "-f", started], capture_output=True)


def test_the_pipelines_image_has_tfx_whole_with_statistics(_engine: None) -> None:
    ended = _run("pipeline", "python3", "-c", "from tfx import v1; import tensorflow_data_validation; print('well')")
    assert (ended.returncode, ended.stdout.strip()) == (0, "well"), ended.stderr[-2000:]
    assert _run("pipeline", "textmill", "run", "--help").returncode == 0
