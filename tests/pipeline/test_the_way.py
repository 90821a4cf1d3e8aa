"""The whole way with every real part: site, crawler, store, TFX, TensorFlow, MLflow, server; as a user types it."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import requests

from textmill import local
from textmill.registry import ModelRegistry

CONFIGURATION = """
name: the-way
sources:
  - name: millpond
    start: {site}
store:
  database: the_way
crawl:
  delay_s: 0
tokenizer:
  vocabulary: 400
model:
  layers: 2
  heads: 2
  width: 32
  window: 32
train:
  steps: 60
  batch: 8
  warmup_steps: 5
  learning_rate: 0.005
evaluate:
  samples: 2
  sample_tokens: 20
"""


@dataclass(frozen=True)
class Way:
    """A project folder and how to type commands in it."""

    folder: Path
    textmill: Callable[..., str]
    registry: ModelRegistry
    printed: dict[str, str]


@pytest.fixture(scope="module")
def way(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mlflow_uri: str, millpond: ModuleType
) -> Iterator[Way]:
    """A project that has been crawled and run once, on a site of its own, whose pages a test may change."""
    folder = tmp_path_factory.mktemp("way")
    with millpond.server(folder / "site") as http:
        address = f"http://127.0.0.1:{http.server_port}"
        millpond.render(folder / "site", address)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield _started(folder, address, mongodb_uri, mlflow_uri)
        http.shutdown()


def _started(folder: Path, site: str, mongodb_uri: str, mlflow_uri: str) -> Way:
    (folder / "textmill.yaml").write_text(CONFIGURATION.format(site=site), encoding="utf-8")
    environment = os.environ | {"TEXTMILL_MONGODB_URI": mongodb_uri, "MLFLOW_TRACKING_URI": mlflow_uri}

    def textmill(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("textmill")), *arguments]
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    printed = {"crawl": textmill("crawl"), "run": textmill("run")}
    return Way(folder, textmill, ModelRegistry(mlflow_uri, "the-way"), printed)


def test_a_run_registers_a_blessed_version_in_staging(way: Way) -> None:
    assert "blessed" in way.printed["run"]
    version = way.registry.version(1)
    assert version.stage == "Staging"
    assert float(version.tags["bits_per_byte"]) < float(version.tags["reference"].rpartition(" ")[2])


def test_a_registered_model_knows_what_it_was_made_from(way: Way, tmp_path: Path) -> None:
    bundle = way.registry.download(way.registry.version(1), tmp_path)
    lineage = json.loads((bundle / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["corpus"]["snapshot"] == 1
    assert len(lineage["corpus"]["digest"]) == 64
    assert lineage["corpus"]["sources"].keys() == {"millpond"}
    assert lineage["settings"]["train"]["steps"] == 60
    assert lineage["code"]


def test_an_unchanged_store_is_a_cache_hit_and_production_itself_is_not_registered_again(way: Way) -> None:
    way.textmill("promote", "--why", "the test says so")
    printed = way.textmill("run")
    for step in ("ExportArticles", "Preprocess", "FineTune"):
        assert re.search(rf"{step}\s+nothing changed, reused", printed), printed
    assert "it is version 1 in Production itself" in printed
    assert "nothing to register" in printed
    assert len(way.registry.versions()) == 1


def test_a_promoted_version_is_served(way: Way) -> None:
    port = local.free_port()
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": way.registry.tracking_uri,
        "TEXTMILL_MONGODB_URI": "mongodb://127.0.0.1:9",
    }
    command = [str(Path(sys.executable).with_name("textmill")), "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=way.folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert any(f"http://127.0.0.1:{port}" in line for line in server.stdout)
        question = {"topic": "The mill", "seed": 3, "max_tokens": 20}
        answers = [
            requests.post(f"http://127.0.0.1:{port}/v1/articles", json=question, timeout=60).json() for _ in range(2)
        ]
    finally:
        server.terminate()
        server.wait(30)
    assert answers[0]["text"] == answers[1]["text"]
    assert answers[0]["model"]["version"] == 1
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/healthz", timeout=2)


def test_a_changed_article_is_a_cache_miss(way: Way) -> None:
    page = way.folder / "site" / "articles" / "the-slow-enemy-silt.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</article>", "<p>The wheel was stopped for good.</p></article>"), encoding="utf-8")
    assert "1 changed" in way.textmill("crawl")
    printed = way.textmill("run")
    assert "snapshot 2" in printed
    assert "nothing changed, reused" not in printed


def test_nothing_of_a_run_is_printed_but_steps_and_results(way: Way) -> None:
    for line in way.printed["run"].splitlines():
        assert line.startswith(("✓ ", "  ", "Next: ")), line
    assert any("port.cc" in file.read_text() for file in (way.folder / ".textmill" / "logs").glob("run-*.log"))
