"""The whole way with every real part: site, crawler, store, TFX, TensorFlow, MLflow, server; as a user types it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import requests
from projects import Project, project

from textmill.local_servers import servers

pytestmark = pytest.mark.timeout(1800)  # a test may run the whole pipeline


@pytest.fixture(scope="module")
def way(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mlflow_uri: str, millpond: ModuleType
) -> Iterator[Project]:
    """A project that has been crawled and run once."""
    with project("the-way", tmp_path_factory.mktemp("way"), 60, mongodb_uri, mlflow_uri, millpond) as way:
        way.printed["crawl"] = way.type("crawl")
        way.printed["run"] = way.type("run")
        yield way


def test_a_run_registers_a_blessed_version_in_staging(way: Project) -> None:
    assert "blessed" in way.printed["run"]
    version = way.registry.version(1)
    assert version.stage == "Staging"
    assert float(version.tags["bits_per_byte"]) < float(version.tags["reference"].rpartition(" ")[2])


def test_a_registered_model_knows_what_it_was_made_from(way: Project, tmp_path: Path) -> None:
    bundle = way.registry.download(way.registry.version(1), tmp_path)
    lineage = json.loads((bundle / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["corpus"]["snapshot"] == 1
    assert len(lineage["corpus"]["digest"]) == 64
    assert lineage["corpus"]["sources"].keys() == {"millpond"}
    assert lineage["settings"]["train"]["steps"] == 60
    assert lineage["code"]


def test_an_unchanged_store_is_a_cache_hit_and_production_itself_is_not_registered_again(way: Project) -> None:
    way.type("promote", "--why", "the test says so")
    printed = way.type("run")
    for step in ("ExportArticles", "Preprocess", "FineTune"):
        assert re.search(rf"{step}\s+nothing changed, reused", printed), printed
    assert "it is version 1 in Production itself" in printed
    assert "nothing to register" in printed
    assert len(way.registry.versions()) == 1


def test_a_promoted_version_is_served(way: Project) -> None:
    port = servers.free_port()
    server = way.start("serve", "--port", str(port))
    try:
        assert server.stdout is not None
        assert any(f"http://127.0.0.1:{port}" in line for line in server.stdout)
        question = {"topic": "The mill", "seed": 3, "max_tokens": 20}
        address = f"http://127.0.0.1:{port}/v1/articles"
        answers = [requests.post(address, json=question, timeout=120).json() for _ in range(2)]
    finally:
        server.terminate()
        server.communicate(timeout=120)
    assert answers[0]["text"] == answers[1]["text"]
    assert answers[0]["model"]["version"] == 1
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/healthz", timeout=2)


def test_the_same_seed_writes_the_same_article_without_a_server(way: Project) -> None:
    first, second = (way.type("generate", "The mill", "--tokens", "20", "--seed", "3") for _ in range(2))
    assert first == second
    assert first.startswith("The mill\n")


def test_a_changed_article_is_a_cache_miss(way: Project) -> None:
    page = way.folder / "site" / "articles" / "the-slow-enemy-silt.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</article>", "<p>The wheel was stopped for good.</p></article>"), encoding="utf-8")
    assert "1 changed" in way.type("crawl")
    printed = way.type("run", "--runner", "beam")
    assert "snapshot 2" in printed
    assert "nothing changed, reused" not in printed


def test_nothing_of_a_run_is_printed_but_steps_and_results(way: Project) -> None:
    for line in way.printed["run"].splitlines():
        assert line.startswith(("✓ ", "? ", "✗ ", "  ", "A reviewer reads ", "Next: ", "Settings ")), line
    logs = list((way.folder / ".textmill" / "logs").glob("run-*.log"))
    assert max(file.stat().st_size for file in logs) > 1000
