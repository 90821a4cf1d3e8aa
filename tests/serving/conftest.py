"""A tiny model that writes words and sentence ends at random, and real server processes over it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_processes import Server, command, write_config

from textmill.gpt2 import bundle, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import characters

LINEAGE = {"corpus": {"snapshot": 3, "sources": {"mills": 62}}}


def write_model(path: Path, seed: int, lineage: dict[str, object] = LINEAGE, broken: bool = False) -> Path:
    """A bundle whose texts are letters, spaces and sentence ends, each about as often as another.

    A broken one is whole and loads, but its scores are no numbers.
    """
    tokenizer = characters(["Aabcde. ü"])
    shape = Architecture(tokenizer.vocabulary, window=64, layers=1, heads=1, width=8)
    made = weights.initial(shape, seed=seed)
    # the final bias reads the first component of the embeddings alone: so the end token and U+FFFD become rare,
    # and the others stay about as likely as each other
    embeddings = made["transformer.wte.weight"]
    embeddings *= 25
    embeddings[:, 0] = 0.5
    embeddings[[tokenizer.end, *tokenizer.encode("\ufffd")]] = [-0.5] + 7 * [0]
    made["transformer.ln_f.weight"] *= 0.4
    made["transformer.ln_f.bias"][0] = 8
    if broken:
        made["transformer.ln_f.bias"][1] = float("nan")
    bundle.write_bundle(path, made, shape, tokenizer, {"temperature": 1.0, "max_tokens": 40}, lineage, "# Tiny\n")
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose texts are letters, spaces and sentence ends, each about as often as another."""
    return write_model(tmp_path_factory.mktemp("served") / "bundle", seed=3)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `model`, with other weights."""
    return write_model(tmp_path_factory.mktemp("served") / "other", seed=4)


@pytest.fixture(scope="session")
def broken_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is whole and loads, but whose scores are no numbers."""
    return write_model(tmp_path_factory.mktemp("served") / "broken", seed=5, broken=True)


@pytest.fixture(scope="module")
def start(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers on free ports, and ends them with the module."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*options: object, environment: dict[str, str] | None = None, **serve: object) -> Server:
        """Start one over the bundle `model`, or, given an environment, over the registry that it names."""
        directory = tmp_path_factory.mktemp("server")
        log = directory / "log"
        config = write_config(directory, **serve)
        what = [] if environment else ["--bundle", model]
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                command("--config", config, "--port", 0, *what, *options),
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
            )
        processes.append(process)
        assert process.stdout
        line = process.stdout.readline()  # said when the model is loaded
        assert line.startswith("Serving "), log.read_text(encoding="utf-8")
        return Server(line.rsplit(" ", 1)[1].strip(), process, log)

    yield begin
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(timeout=20)
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="module")
def server(start: Callable[..., Server]) -> Server:
    """One server for the tests that leave nothing behind."""
    return start()
