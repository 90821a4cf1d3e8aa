"""What a worker container does at its start: the version in its stage, once there is one, verified; and workers behind a name."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from registered_bundles import register

from serving.rollout import discovery, pull
from textmill.gpt2.formats import bundle
from textmill.ground.errors import UserError
from textmill.registry.model_registry import ModelRegistry


def _pull(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "serving.rollout.pull", "--into", str(folder), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)


def test_it_waits_for_a_version_and_fetches_it_verified(mlflow_uri: str, model: Path, tmp_path: Path) -> None:
    registry = ModelRegistry(mlflow_uri, f"pulled-{tmp_path.name}")
    number = register(registry, model)
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(pull.wait_for(registry, "stage:Production", 0.1).number))
    waiting.start()
    time.sleep(0.5)
    assert not found
    registry.promote(number, "a test", force=True)
    waiting.join(120)
    assert found == [number]
    for old in range(3):
        (tmp_path / f"other-{old}-0123456789ab").mkdir()
    ran = _pull(tmp_path, "--name", registry.name, MLFLOW_TRACKING_URI=mlflow_uri)
    assert ran.returncode == 0, ran.stderr
    assert len(list(tmp_path.glob("other-*"))) == 2  # those that workers left behind do not pile up
    assert bundle.verify(Path(ran.stdout.strip())) == bundle.verify(model)


def test_a_baked_model_is_taken_without_asking_anyone(model: Path, tmp_path: Path) -> None:
    ran = _pull(tmp_path, "--baked", str(model))
    assert (ran.returncode, ran.stdout.strip()) == (0, str(model))


def test_a_model_that_cannot_be_named_is_said_at_once(tmp_path: Path) -> None:
    assert "TEXTMILL_MODEL_NAME" in _pull(tmp_path).stderr
    for wrong in ("Production", "version:seven", "stage:"):
        with pytest.raises(UserError, match="is not a valid model"):
            pull.wait_for(ModelRegistry("http://127.0.0.1:9", "m"), wrong)


def test_a_name_stands_for_all_its_addresses_and_an_unknown_one_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    here = asyncio.run(discovery.look_up("http://localhost:8100"))
    assert here
    assert "http://127.0.0.1:8100" in here
    for said, found in ((socket.EAI_NONAME, set()), (socket.EAI_AGAIN, None)):
        # whether a resolver answers here, and how soon, is the machine's affair
        monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=socket.gaierror(said, "as a resolver says it")))
        assert asyncio.run(discovery.look_up("http://nobody.invalid:8100")) == found


def test_names_and_single_addresses_are_told_apart() -> None:
    urls = ["http://a:1", "dns:http://b:2"]
    assert (discovery.fixed(urls), discovery.names(urls)) == (["http://a:1"], ["http://b:2"])
