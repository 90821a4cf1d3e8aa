"""A tiny model that writes words and sentence ends at random, and real server processes over it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from textmill.gpt2 import bundle, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import characters

LINEAGE = {"corpus": {"snapshot": 3, "sources": {"mills": 62}}}
_READY_WITHIN_S = 60


@dataclass(frozen=True)
class Server:
    """A server process that answers."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def metric(self, line: str) -> float:
        """The value of one of Prometheus's lines; zero where it is not there yet."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_for_metric(self, line: str, value: float) -> None:
        """Wait until a figure has this value, for ten seconds at most."""
        end = time.monotonic() + 10
        while self.metric(line) != value:
            assert time.monotonic() < end, f"{line} is {self.metric(line)}, not {value}"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose texts are letters, spaces and sentence ends, each about as often as another."""
    tokenizer = characters(["Aabcde. ü"])
    shape = Architecture(tokenizer.vocabulary, window=64, layers=1, heads=1, width=8)
    made = weights.initial(shape, seed=3)
    # the final bias reads the first component of the embeddings alone: so the end token and U+FFFD become rare,
    # and the others stay about as likely as each other
    embeddings = made["transformer.wte.weight"]
    embeddings *= 25
    embeddings[:, 0] = 0.5
    embeddings[[tokenizer.end, *tokenizer.encode("\ufffd")]] = [-0.5] + 7 * [0]
    made["transformer.ln_f.weight"] *= 0.4
    made["transformer.ln_f.bias"][0] = 8
    path = tmp_path_factory.mktemp("served") / "bundle"
    bundle.write_bundle(path, made, shape, tokenizer, {"temperature": 1.0, "max_tokens": 40}, LINEAGE, "# Tiny\n")
    return path


def write_config(directory: Path, **serve: int) -> Path:
    """A configuration with these serve settings."""
    lines = ["name: tiny", "sources:", "  - name: mills", "    start: http://127.0.0.1:1/", "serve:"]
    settings = {"slots": 2, "threads": 1, "max_tokens": 60, **serve}
    path = directory / "textmill.yaml"
    path.write_text("\n".join([*lines, *(f"  {name}: {value}" for name, value in settings.items())]), encoding="utf-8")
    return path


def command(*arguments: object) -> list[str]:
    """The command line of a server that ends with this process."""
    return [sys.executable, "-m", "serving.server", "--follow-parent", *map(str, arguments)]


@pytest.fixture(scope="module")
def start(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers on free ports, and ends them with the module."""
    processes: list[subprocess.Popen[str]] = []

    def begin(**serve: int) -> Server:
        directory = tmp_path_factory.mktemp("server")
        log = directory / "log"
        config = write_config(directory, **serve)
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                command("--config", config, "--port", 0, "--bundle", model),
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        processes.append(process)
        assert process.stdout
        line = process.stdout.readline()  # said when the model is loaded
        assert line.startswith("Serving 'tiny'"), log.read_text(encoding="utf-8")
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
