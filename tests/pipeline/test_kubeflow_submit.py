"""kfp's client uploads a compiled pipeline and starts runs of it, at a server that speaks the API over HTTP."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from kubeflow_server import Kubeflow, serving

from pipeline import kubeflow, kubeflow_submit
from pipeline.graph import Choices, Resolved
from textmill.articles.article import Article, now
from textmill.articles.store import ArticleStore
from textmill.ground.errors import TextmillError, UserError
from textmill.settings.config import Config
from textmill.settings.pipeline import Kubeflow as Settings
from textmill.settings.sites import Source

IMAGE = "registry.example/textmill@sha256:" + "ab" * 32


@pytest.fixture(autouse=True)
def _home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kfp's client reads its defaults from the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (kubeflow_submit.TOKEN, kubeflow_submit.TOKEN_FILE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("submit") / "handbook.yaml"
    sites = [Source(name="handbook", start="https://handbook.example/")]
    config = Config(name="handbook", sources=sites, kubeflow=Settings(image=IMAGE))
    kubeflow.compile_pipeline(config, Resolved(3, "ab" * 32, 2, "cd" * 32, "http://mlflow#1"), file)
    return file


def test_a_pipeline_is_uploaded_once_and_then_gets_versions(file: Path) -> None:
    server = Kubeflow()
    with serving(server) as host:
        first = kubeflow_submit.submit(Settings(host=host), "handbook", file, {"steps": 30, "stage": "Production"})
        second = kubeflow_submit.submit(Settings(host=host), "handbook", file, {})
    assert [each.display_name for each in server.pipelines.values()] == ["handbook"]
    assert [each.display_name for each in server.experiments.values()] == ["handbook"]
    assert len(server.versions) == 2
    assert first.address == f"{host}/#/runs/details/run-1"
    assert second.id == "run-2"
    assert server.runs[0].runtime_config.parameters == {"steps": 30, "stage": "Production"}
    assert server.runs[1].pipeline_version_reference.pipeline_version_id == "version-2"
    specification, platform = server.specifications["version-1"]
    assert specification["pipelineInfo"]["name"] == "handbook"
    assert "FineTune_executor" in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_an_absent_host_is_named_at_once(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UserError, match=rf"Kubeflow Pipelines at http://127\.0\.0\.1:{port} does not answer"):
        kubeflow_submit.submit(Settings(host=f"http://me:secret@127.0.0.1:{port}"), "handbook", file, {})
    with pytest.raises(UserError, match=r"kubeflow\.host is '', not an address"):
        kubeflow_submit.submit(Settings(), "handbook", file, {})


def test_a_server_that_wants_a_token_is_told_apart(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Kubeflow(token="let-me-in")
    with serving(server) as host:
        with pytest.raises(UserError, match=r"refused access \(status 401\); set KF_PIPELINES_TOKEN"):
            kubeflow_submit.submit(Settings(host=host), "handbook", file, {})
        monkeypatch.setenv(kubeflow_submit.TOKEN, "let-me-in")
        assert kubeflow_submit.submit(Settings(host=host), "handbook", file, {}).id == "run-1"


def test_a_user_with_a_namespace_and_a_token_in_a_file_submits_twice(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("let-me-in\n", "utf-8")
    monkeypatch.setenv(kubeflow_submit.TOKEN_FILE, str(tmp_path / "token"))
    server = Kubeflow(token="let-me-in")
    with serving(server) as host:
        settings = Settings(host=host, namespace="team")
        assert [kubeflow_submit.submit(settings, "handbook", file, {}).id for _ in range(2)] == ["run-1", "run-2"]
        monkeypatch.setenv(kubeflow_submit.TOKEN_FILE, str(tmp_path / "absent"))
        with pytest.raises(UserError, match=r"KF_PIPELINES_SA_TOKEN_PATH names \S+absent, which cannot be read"):
            kubeflow_submit.submit(settings, "handbook", file, {})
    assert [each.namespace for each in server.experiments.values()] == ["team"]
    assert [each.namespace for each in server.pipelines.values()] == ["team"]
    assert len(server.versions) == 2


def test_a_refusal_is_passed_on_in_the_servers_words(file: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(file.read_text("utf-8").replace("schemaVersion: 2.1.0", "schemaVersion: 2.0.0"), "utf-8")
    with serving(Kubeflow()) as host, pytest.raises(TextmillError, match=r"refused \(400\): .*unsupported schema"):
        kubeflow_submit.submit(Settings(host=host), "handbook", old, {})


@pytest.mark.parametrize("pair", ["steps", "speed=3", "steps=many", "steps=0"])
def test_a_wrong_parameter_is_refused_before_anything_is_sent(pair: str) -> None:
    with pytest.raises(UserError, match=r"write NAME=VALUE|is not a whole number above 0"):
        kubeflow_submit.parameters([pair], tuple(Choices.__dataclass_fields__))


def test_watching_submits_a_pipeline_when_a_training_is_due(
    tmp_path: Path, store: ArticleStore, database: str, mongodb_uri: str, mlflow_uri: str
) -> None:
    texts = [("http://mill.example/1", "The mill turns."), ("http://mill.example/2", "The pond is still.")]
    store.upsert([Article(url, "mill", "A mill", text, now()) for url, text in texts])
    server = Kubeflow()
    with serving(server) as host:
        (tmp_path / "textmill.yaml").write_text(
            f"name: {database}\nsources: [{{name: mill, start: 'http://127.0.0.1:9/'}}]\nstore: {{database: {database}}}\n"
            f"kubeflow: {{host: '{host}', image: '{IMAGE}'}}\nwatch: {{on_start: true, runner: kubeflow}}\n",
            "utf-8",
        )
        addresses = {"TEXTMILL_MONGODB_URI": mongodb_uri, "MLFLOW_TRACKING_URI": mlflow_uri}
        said = [
            subprocess.run(
                [Path(sys.executable).with_name("textmill"), "watch", "--once"],
                cwd=tmp_path,
                env=os.environ | addresses,
                capture_output=True,
                text=True,
                timeout=900,
            )
            for _ in range(2)
        ]
    assert "train: there is no version yet, and 2 articles to train on" in said[0].stdout, said[0].stderr
    assert f"submitted: {host}/#/runs/details/run-1" in said[0].stdout
    assert "Nothing to do" in said[1].stdout  # that training is under way
    assert len(server.runs) == 1
