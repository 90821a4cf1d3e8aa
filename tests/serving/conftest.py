"""A tiny model that writes words and sentence ends at random, and real server processes over it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_processes import Server, command, write_config
from tiny_models import write_model


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
        process.wait(timeout=60)
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="module")
def server(start: Callable[..., Server]) -> Server:
    """One server for the tests that leave nothing behind."""
    return start()
