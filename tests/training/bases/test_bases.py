"""What `model.base` may say: found, fetched and checked against real servers, and refused in one sentence."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import requests

from textmill.gpt2 import tokenizer, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle, checkpoint
from textmill.ground.errors import UserError
from textmill.registry.model_registry import ModelRegistry
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config
from textmill.training.bases import downloads, resolving
from textmill.training.bases.base import SCRATCH

TEXT = "The mill by the river grinds the grain."
SMALL = Architecture(280, 32, 2, 2, 16)
ROOT = Path(__file__).resolve().parents[3]
NOWHERE = ModelRegistry("http://127.0.0.1:9", "any")


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as a directory of Hugging Face's."""
    directory = tmp_path_factory.mktemp("base") / "small"
    own = tokenizer.train_bpe([TEXT] * 5, SMALL.vocabulary)
    checkpoint.write_hugging_face(directory, weights.initial(SMALL), SMALL, own)
    return directory


def _config(folder: Path, model: str, rest: str = "") -> Config:
    text = f"name: mill\nsources: [{{name: mill, start: 'https://mill.example/'}}]\nmodel: {{{model}}}\n{rest}"
    (folder / "textmill.yaml").write_text(text, encoding="utf-8")
    return configuration.load(folder / "textmill.yaml")


def test_scratch_is_nothing_to_find(tmp_path: Path) -> None:
    config = _config(tmp_path, "layers: 2")
    assert resolving.resolve(config, NOWHERE) == SCRATCH
    assert resolving.shape(config.model, SCRATCH) == config.model
    assert config.tokenizer_kind == "bpe"


def test_a_folder_beside_the_configuration_brings_its_sizes_and_its_tokenizer(
    hugging_face: Path, tmp_path: Path
) -> None:
    shutil.copytree(hugging_face, tmp_path / "models" / "small")
    config = _config(tmp_path, "base: models/small")
    base = resolving.resolve(config, NOWHERE)
    assert (base.name, base.form, base.architecture) == ("models/small", "hugging-face", SMALL)
    assert config.tokenizer_kind == "base"
    shaped = resolving.shape(config.model, base)
    assert (shaped.layers, shaped.heads, shaped.width, shaped.window) == (2, 2, 16, 32)
    assert resolving.shape(_config(tmp_path, "base: models/small, window: 16").model, base).window == 16
    assert str(tmp_path) not in shaped.model_dump_json()
    config_file = tmp_path / "models" / "small" / "config.json"
    config_file.write_text(config_file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert resolving.resolve(config, NOWHERE).digest != base.digest


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("base: nowhere", r"nowhere does not exist; set model\.base"),
        ("base: small, window: 64", r"model\.window is 64, but the base has only 32 positions"),
        ("base: small, layers: 4", r"model\.layers is 4, but the base has 2"),
        ("base: small, size: 124M", r"model\.size 124M \(its layers\) is 12, but the base has 2"),
        ("base: .", r"has no model, but its subfolder bare has one"),
        ("base: bare", r"bare has no tokenizer; add its tokenizer\.json"),
        ("base: narrow", r"heads are 4 wide, but serving needs a multiple of 8"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(hugging_face: Path, tmp_path: Path, model: str, said: str) -> None:
    shutil.copytree(hugging_face, tmp_path / "small")
    shutil.copytree(hugging_face, tmp_path / "bare")
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (tmp_path / "bare" / name).unlink(missing_ok=True)
    narrow = Architecture(280, 32, 1, 2, 8)
    own = tokenizer.train_bpe([TEXT] * 5, SMALL.vocabulary)
    checkpoint.write_hugging_face(tmp_path / "narrow", weights.initial(narrow), narrow, own)
    with pytest.raises(UserError, match=said) as raised:
        resolving.resolve(_config(tmp_path, model), NOWHERE)
    assert "\n" not in str(raised.value)


def test_run_says_at_once_that_the_base_is_wrong(tmp_path: Path) -> None:
    _config(tmp_path, "base: checkpoint/run1")
    command = [Path(sys.executable).with_name("textmill"), "run"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"textmill: {tmp_path / 'checkpoint' / 'run1'} does not exist;")
    assert ran.stderr.count("\n") == 1


class _Files(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and describes repositories in it as Hugging Face's API does."""

    asked: list[str]

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self.asked.append(unquote(urlsplit(self.path).path))
        parts = self.asked[-1].strip("/").split("/")
        if parts[:2] != ["api", "models"]:
            return self._file(parts)
        return self._json(self._describe(parts[2:4], parts[5:]))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _describe(self, repository: list[str], revision: list[str]) -> dict[str, object] | None:
        folder = Path(self.directory, *repository)
        files = [{"rfilename": path.name, "size": path.stat().st_size} for path in sorted(folder.glob("*"))]
        found = {"id": "/".join(repository), "sha": "ab" * 20, "siblings": files}
        return found if folder.is_dir() and revision in ([], ["main"], ["v1"]) else None

    def _json(self, value: dict[str, object] | None) -> None:
        body = json.dumps(value or {"error": "Repository not found"}).encode()
        self.send_response(200 if value else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, parts: list[str]) -> None:
        # OWNER/NAME/resolve/REVISION/FILE at Hugging Face; elsewhere the path as it is
        path = Path(self.directory, *(parts[:2] + parts[4:] if "resolve" in parts else parts))
        if not path.is_file():
            return self.send_error(404)
        body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{path.name}-{len(body)}"')
        self.send_header("X-Repo-Commit", "ab" * 20)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        return None


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of a folder's files, and the paths that it was asked for."""
    asked: list[str] = []
    handler = type("Files", (_Files,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_repository_is_fetched_once_and_no_pickle_with_it(
    hugging_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(hugging_face, tmp_path / "hub" / "mills" / "small")
    for name in ("pytorch_model.bin", "README.md", "training_args.bin"):
        (tmp_path / "hub" / "mills" / "small" / name).write_bytes(b"\x80\x04")
    config = _config(tmp_path, "base: 'hf:mills/small@v1'")
    with _serving(tmp_path / "hub") as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        base = resolving.resolve(config, NOWHERE)
    assert (base.name, base.form, base.architecture) == (f"hf:mills/small@{'ab' * 20}", "hugging-face", SMALL)
    names = {"config.json", "model.safetensors", "tokenizer.json", "vocab.json", "merges.txt", "revision"}
    assert {path.name for path in Path(base.directory).iterdir()} == names - {"vocab.json", "merges.txt"}
    assert not any(path.endswith((".bin", ".md")) for path in asked)
    assert resolving.resolve(config, NOWHERE) == base  # the server has gone
    assert [path.name for path in (tmp_path / ".textmill" / "bases").iterdir()] == [Path(base.directory).name]


def test_a_repository_without_safetensors_or_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub" / "mills" / "pickled").mkdir(parents=True)
    (tmp_path / "hub" / "mills" / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with _serving(tmp_path / "hub") as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(UserError, match="hf:mills/pickled has no safetensors"):
            downloads.from_hugging_face("mills/pickled", tmp_path / "bases")
        with pytest.raises(UserError, match="hf:mills/absent could not be downloaded"):
            downloads.from_hugging_face("mills/absent", tmp_path / "bases")
    with pytest.raises(UserError, match="hf:mills/pickled could not be downloaded"):
        downloads.from_hugging_face("mills/pickled", tmp_path / "bases")
    assert not list((tmp_path / "bases").glob("*"))


def test_openais_checkpoints_without_a_network_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"The base 124M could not be downloaded \(ProxyError\); check the network"):
        resolving.resolve(_config(tmp_path, "base: 124M"), NOWHERE)


def _put(registry: ModelRegistry, directory: Path) -> int:
    """Register a bundle as Register does, without importing mlflow; gives its version."""
    checksum = bundle.verify(directory)
    address = f"{registry.tracking_uri}/api/2.0"
    run = requests.post(f"{address}/mlflow/runs/create", json={"experiment_id": "0"}, timeout=60).json()["run"]["info"]
    source = f"{run['artifact_uri']}/model"
    for path in directory.rglob("*"):
        if path.is_file():
            place = f"{source.removeprefix('mlflow-artifacts:/')}/artifacts/bundle/{path.relative_to(directory)}"
            url = f"{address}/mlflow-artifacts/artifacts/{place}"
            requests.put(url, data=path.read_bytes(), timeout=60).raise_for_status()
    return registry.register(source, run["run_id"], "", {"checksum": checksum}).number


@pytest.fixture
def registered(mlflow_uri: str, request: pytest.FixtureRequest, tmp_path: Path) -> ModelRegistry:
    """A registry whose version 1 is a small model."""
    registry = ModelRegistry(mlflow_uri, request.node.name.replace("_", "-")[:40])
    own = tokenizer.train_bpe([TEXT] * 5, SMALL.vocabulary)
    lineage = {"trained": {"best_step": 12}}
    bundle.write_bundle(tmp_path / "made", weights.initial(SMALL), SMALL, own, {}, lineage, "# A card\n")
    assert _put(registry, tmp_path / "made") == 1
    return registry


def test_an_earlier_version_is_a_base_by_its_number_and_by_its_stage(registered: ModelRegistry, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no version 3"):
        resolving.resolve(_config(tmp_path, "base: 'version:3'"), registered)
    with pytest.raises(UserError, match="is in stage 'Production'; promote one"):
        resolving.resolve(_config(tmp_path, "base: 'stage:Production'"), registered)
    registered.promote(1, "good")
    by_number = resolving.resolve(_config(tmp_path, "base: 'version:1'"), registered)
    by_stage = resolving.resolve(_config(tmp_path, "base: 'stage:Production'"), registered)
    assert by_number == by_stage
    assert (by_stage.name, by_stage.version, by_stage.form) == ("version:1", 1, "bundle")
    assert by_stage.digest == registered.version(1).checksum
    read = by_stage.read(16)
    assert read is not None
    assert read.architecture.window == 16


def test_a_version_is_downloaded_in_every_form(
    registered: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textmill.commands import download
    from textmill.commands.project import Project

    text = f"name: {registered.name}\nsources: [{{name: mill, start: 'https://mill.example/'}}]\n"
    (tmp_path / "textmill.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered.tracking_uri)
    project = Project.load(tmp_path / "textmill.yaml")
    with pytest.raises(UserError, match="is in stage 'Production'; name one"):
        download.write_version(project, None, tmp_path / "any", "bundle")
    registered.promote(1, "good")
    for form in checkpoint.FORMS:
        assert download.write_version(project, None, tmp_path / form, form).number == 1
        read = checkpoint.read(tmp_path / form)
        assert (read.form, read.architecture) == (form, SMALL)
        expected = weights.initial(SMALL)
        assert all(np.array_equal(read.weights[name], expected[name]) for name in expected)
        with pytest.raises(UserError, match="is not empty"):
            download.write_version(project, 1, tmp_path / form, form)
    assert (tmp_path / "gpt-2-simple" / "model-12.index").is_file()
    with pytest.raises(UserError, match="There is no form 'gguf'"):
        download.write_version(project, 1, tmp_path / "any", "gguf")


def test_a_checkpoint_of_openais_that_comes_damaged_is_not_kept(tmp_path: Path) -> None:
    store, site = tmp_path / "store" / "124M", tmp_path / "site"
    store.mkdir(parents=True)
    site.mkdir()
    hparams = {"n_vocab": 50257, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
    files = {"hparams.json": json.dumps(hparams), "checkpoint": 'model_checkpoint_path: "model.ckpt"\n'}
    names = ("encoder.json", "vocab.bpe", *(f"model.ckpt.{end}" for end in ("index", "meta", "data-00000-of-00001")))
    for name, text in (files | dict.fromkeys(names, "x")).items():
        (store / name).write_text(text, encoding="utf-8")
    with _serving(store.parent) as (address, asked):
        # gpt-2-simple's own code runs in a process of its own; only where it asks is ours
        (site / "sitecustomize.py").write_text(
            "import requests\n"
            "ask = requests.Session.request\n"
            f"there = lambda url: url.replace({downloads._OPENAI!r}, {address!r})\n"
            "requests.Session.request = lambda self, method, url, **more: ask(self, method, there(url), **more)\n",
            encoding="utf-8",
        )
        code = "import sys; from pathlib import Path; from textmill.training.bases.downloads import openai; openai('124M', Path(sys.argv[1]))"
        command = [sys.executable, "-c", code, str(tmp_path / "bases")]
        environment = os.environ | {"PYTHONPATH": f"{site}:{ROOT}", "TF_CPP_MIN_LOG_LEVEL": "3"}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert "The base 124M could not be downloaded (the download is damaged)" in ran.stderr
    assert {Path(path).name for path in asked} == {*files, *names}
    assert not list((tmp_path / "bases").iterdir())
