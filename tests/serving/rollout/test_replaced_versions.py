"""What becomes of a version that was replaced: texts that take too long, and the bundle on the disk."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from registered_bundles import register
from server_processes import PATIENCE_S, Server
from tiny_models import write_model

from textmill.registry.bundle_cache import Hold
from textmill.registry.model_registry import ModelRegistry

DRAIN_S = 1.5
GRACE_S = 2.0  # before the former version begins to end
ENDLESS = {"topic": "abc", "max_tokens": 10_000_000, "temperature": 0}


@pytest.fixture(scope="module")
def registry(
    mlflow_uri: str, model: Path, other_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> ModelRegistry:
    """Three versions, the first of them in Production."""
    registry = ModelRegistry(mlflow_uri, "replaced")
    for directory in (model, other_model, write_model(tmp_path_factory.mktemp("third") / "bundle", seed=6)):
        register(registry, directory)
    registry.promote(1, "the first")
    return registry


@pytest.fixture(scope="module")
def server(start: Callable[..., Server], registry: ModelRegistry) -> Server:
    settings: dict[str, Any] = {"drain_s": DRAIN_S, "keep_models": 0, "follow_s": 0.3, "slots": 4}
    environment = {"MLFLOW_TRACKING_URI": registry.tracking_uri}
    return start(environment=environment, name="replaced", max_tokens=ENDLESS["max_tokens"], **settings)


def answering(server: Server, version: int) -> dict[str, Any]:
    """What /readyz says once this version answers, no other has a worker any more, and all is well."""

    def alone(said: dict[str, Any]) -> bool:
        return [worker["version"] for worker in said["workers"]] == [str(version)] and not said["problems"]

    return server.wait_until(alone)


@contextmanager
def reading(server: Server) -> Iterator[Iterator[tuple[float, str, dict[str, Any]]]]:
    """An endless text's events as they come: when, name, data."""
    with httpx.stream("POST", f"{server.url}/v1/articles", json={**ENDLESS, "stream": True}, timeout=180) as answer:

        def events() -> Iterator[tuple[float, str, dict[str, Any]]]:
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield time.monotonic(), name, json.loads(line.removeprefix("data: "))

        yield events()


def test_a_text_longer_than_drain_s_ends_with_an_error_and_costs_no_other(
    server: Server, registry: ModelRegistry
) -> None:
    def whole() -> httpx.Response:
        return httpx.post(f"{server.url}/v1/articles", json=ENDLESS, timeout=180)

    with ThreadPoolExecutor() as clients, reading(server) as events:
        assert next(events)[1] == "start"
        refused = clients.submit(whole)
        server.wait_until(lambda said: sum(worker["running"] for worker in said["workers"]) == 2)
        began = time.monotonic()
        registry.promote(2, "better")
        unchanged = last_seen(server, 1, began)
        meanwhile = clients.submit(ask_until_ended, server, refused.done)
        *texts, last = events
        assert last[1] == "error"
        assert last[2]["error"]["type"] == "server_error"
        assert "try again" in last[2]["error"]["message"]
        # the text went on for as long as it was promised, and not much longer, but on a machine that runs other tests
        assert GRACE_S + DRAIN_S < last[0] - unchanged < GRACE_S + DRAIN_S + 60
        assert texts[-1][0] > unchanged + GRACE_S
        answer = refused.result()
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "not_ready")
        assert int(answer.headers["retry-after"]) > 0
        assert set(meanwhile.result()) == {2}
    answering(server, 2)


def last_seen(server: Server, version: int, since: float) -> float:
    """Wait until another version answers; a time, just before that, at which this one still did, as it did `since`."""
    end = time.monotonic() + PATIENCE_S
    asked = since
    while True:
        before, asked = asked, time.monotonic()
        if server.readiness()["model"]["version"] != version:
            return before
        assert time.monotonic() < end
        time.sleep(0.02)


def ask_until_ended(server: Server, ended: Callable[[], bool]) -> list[int]:
    """The versions that answered short requests, one at least."""
    versions: list[int] = []
    while not versions or not ended():
        asked = {"topic": "abc", "max_tokens": 5}
        answer = httpx.post(f"{server.url}/v1/articles", json=asked, timeout=60).raise_for_status()
        versions.append(int(answer.json()["model"]["version"]))
    return versions


def test_old_bundles_go_unless_someone_uses_them(server: Server, registry: ModelRegistry) -> None:
    answering(server, 2)
    folder = server.log.parent / ".textmill" / "models"

    def numbers() -> list[int]:
        return sorted(int(each.name.split("-")[1]) for each in folder.iterdir() if each.is_dir())

    assert numbers() == [1, 2]  # a rollback would go back to 1
    other = Hold(next(folder.glob("replaced-1-*")))  # another server, which shares the folder
    registry.promote(3, "better still")
    answering(server, 3)
    assert numbers() == [1, 2, 3]
    other.release()
    registry.rollback("it was not")
    answering(server, 2)
    server.wait_until(lambda _: numbers() == [2, 3])
