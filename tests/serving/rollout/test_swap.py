"""Versions change under load, by promotion and rollback in a real MLflow, and no text mixes two of them."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from registered_bundles import Relay, register
from server_processes import PATIENCE_S, Server
from tiny_models import write_model

from textmill.gpt2.document import topic_prompt
from textmill.gpt2.inference import engine as inference
from textmill.gpt2.inference.engine import Engine
from textmill.gpt2.inference.sampling import Settings
from textmill.registry.model_registry import ModelRegistry

TOKENS = 1000  # a third of a second of writing, so that texts are under way whenever a version changes
SEEDS = 4


class Load:
    """Clients that ask again and again, and every answer they got."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[int, int, str]] = []  # version, seed, text
        self.failures: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, version: int) -> None:
        """Wait until this version has answered."""
        end = time.monotonic() + PATIENCE_S
        while version not in {version for version, _, _ in self.answers}:
            assert time.monotonic() < end, self.failures
            time.sleep(0.05)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=180) as client:
            for seed in itertools.cycle(range(SEEDS)):
                if self._stop.is_set():
                    return
                asked = {"topic": "abc", "seed": seed, "max_tokens": TOKENS, "temperature": 0.9}
                answer = client.post("/v1/articles", json=asked)
                if answer.status_code == 200:
                    said = answer.json()
                    self.answers.append((said["model"]["version"], seed, said["text"]))
                else:
                    self.failures.append(answer.text)


@contextmanager
def load(url: str) -> Iterator[Load]:
    clients = Load(url)
    try:
        yield clients
    finally:
        clients.stop()


@pytest.fixture(scope="module")
def relay(mlflow_uri: str) -> Relay:
    return Relay(mlflow_uri)


@pytest.fixture(scope="module")
def registry(mlflow_uri: str) -> ModelRegistry:
    return ModelRegistry(mlflow_uri, "swapped")


@pytest.fixture(scope="module")
def server(
    start: Callable[..., Server], registry: ModelRegistry, relay: Relay, model: Path, other_model: Path
) -> Server:
    """Version 1 in Production, version 2 waiting."""
    assert [register(registry, model), register(registry, other_model)] == [1, 2]
    registry.promote(1, "the first")
    environment = {"MLFLOW_TRACKING_URI": relay.url}
    return start(environment=environment, name="swapped", workers=2, follow_s=0.3, max_tokens=TOKENS)


def version_of(said: dict[str, object]) -> object:
    return said["model"]["version"] if "model" in said else None  # type: ignore[index]


def problem_of(server: Server, words: str) -> str:
    """Wait until the first problem that /readyz names has these words in it, and return it."""
    return str(server.wait_until(lambda said: words in "".join(said["problems"][:1]))["problems"][0])


def expected(directory: Path) -> dict[int, str]:
    """What the model alone writes, by seed."""
    with Engine(directory, slots=1, threads=1) as engine:
        prompt = topic_prompt(engine.tokenizer, "abc")
        return {
            seed: inference.generate(
                engine, prompt, Settings.of(engine.defaults, {"seed": seed, "max_tokens": TOKENS, "temperature": 0.9})
            ).text
            for seed in range(SEEDS)
        }


def test_promotion_and_rollback_under_load_lose_no_request_and_mix_no_versions(
    server: Server, registry: ModelRegistry, model: Path, other_model: Path
) -> None:
    with load(server.url) as clients:
        server.wait_until(lambda said: version_of(said) == 1)
        clients.wait_for(1)
        registry.promote(2, "better")
        server.wait_until(lambda said: version_of(said) == 2)
        most = 0

        def all_changed(said: dict[str, list[dict[str, object]]]) -> bool:
            nonlocal most
            most = max(most, len(said["workers"]))
            return [worker["version"] for worker in said["workers"]] == ["2", "2"]

        server.wait_until(all_changed)
        assert most <= 3  # one more than serve
        clients.wait_for(2)
        registry.rollback("worse, after all")
        server.wait_until(lambda said: version_of(said) == 1)
        # as many workers as before, all of them of the version that is back
        server.wait_until(lambda said: [w["version"] for w in said["workers"]] == ["1", "1"])
        server.wait_until(lambda said: all(w["ready"] for w in said["workers"]) and not said["problems"])
    assert clients.failures == []
    assert {version for version, _, _ in clients.answers} == {1, 2}
    texts = {1: expected(model), 2: expected(other_model)}
    for version, seed, text in clients.answers:
        assert texts[version][seed].strip().startswith(text)  # cut to whole sentences
        assert len(text) > 100


def test_while_mlflow_is_away_the_server_goes_on_and_says_so(server: Server, relay: Relay) -> None:
    relay.go_away()
    try:
        assert "Version 1 stays in service." in problem_of(server, "does not answer")
        assert server.post("/v1/articles", json={"topic": "abc", "max_tokens": 5}).status_code == 200
    finally:
        relay.come_back()
    server.wait_until(lambda said: not said["problems"])


def test_a_server_started_while_mlflow_is_away_serves_what_was_served_last(
    start: Callable[..., Server], server: Server, relay: Relay
) -> None:
    relay.go_away()
    try:
        config = server.log.parent / "textmill.yaml"
        again = start("--config", config, environment={"MLFLOW_TRACKING_URI": relay.url})
        problem_of(again, "does not answer")
        assert version_of(again.readiness()) == 1
    finally:
        relay.come_back()
    server.wait_until(lambda said: not said["problems"])


def test_a_version_that_writes_no_sense_never_answers(
    server: Server, registry: ModelRegistry, broken_model: Path
) -> None:
    number = register(registry, broken_model)
    registry.promote(number, "nobody has looked")
    with load(server.url) as clients:
        problem = problem_of(server, f"Version {number} could not be served")
        assert "scores are not finite numbers" in problem
        assert version_of(server.readiness()) == 1
    assert clients.failures == []
    assert {version for version, _, _ in clients.answers} == {1}
    registry.rollback("it writes no sense")
    server.wait_until(lambda said: not said["problems"])


def test_a_damaged_artifact_never_answers(server: Server, registry: ModelRegistry, tmp_path: Path) -> None:
    damaged = write_model(tmp_path / "damaged", seed=9)
    with (damaged / "model.safetensors").open("r+b") as file:
        file.seek(100)
        file.write(b"\x7f\x7f")
    number = register(registry, damaged)
    registry.promote(number, "nobody has looked")
    assert "Version 1 stays in service." in problem_of(
        server, "is damaged: model.safetensors does not match its checksum"
    )
    assert version_of(server.readiness()) == 1
    registry.rollback("it is damaged")
    server.wait_until(lambda said: not said["problems"])


def test_an_emptied_stage_keeps_its_last_version(server: Server, registry: ModelRegistry) -> None:
    registry.archive(1, "taken out")
    problem_of(server, "No version of 'swapped' is in stage 'Production'")
    assert version_of(server.readiness()) == 1
    registry.promote(1, "back")
    server.wait_until(lambda said: not said["problems"])


def test_traffic_is_split_over_stages_and_a_user_keeps_to_one(
    start: Callable[..., Server], mlflow_uri: str, model: Path, other_model: Path
) -> None:
    registry = ModelRegistry(mlflow_uri, "parted")
    for number, directory in ((1, model), (2, other_model)):
        register(registry, directory)
        registry.promote(number, "a test", "Production" if number == 1 else "Staging")
    split = {"Production": 50, "Staging": 50}
    server = start(environment={"MLFLOW_TRACKING_URI": mlflow_uri}, name="parted", split=split)
    said = server.wait_until(lambda said: len(said["models"]) == 2)
    assert [model["share"] for model in said["models"]] == [50, 50]

    def ask(**fields: object) -> int:
        answer = httpx.post(f"{server.url}/v1/articles", json={"topic": "abc", "max_tokens": 2, **fields}, timeout=60)
        return int(answer.raise_for_status().json()["model"]["version"])

    users = {f"user-{number}": ask(user=f"user-{number}") for number in range(12)}
    assert set(users.values()) == {1, 2}
    assert users == {user: ask(user=user) for user in users}
    assert {ask(model="Staging") for _ in range(3)} == {2}
