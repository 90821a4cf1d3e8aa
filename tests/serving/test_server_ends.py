"""A server that is told to end does so in time, whatever it waits for, and what it cannot finish ends as an error."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from registered_bundles import register
from server_processes import Server, command, write_config

from textmill.registry.model_registry import ModelRegistry

PATIENCE_S = 30  # ten are promised, but not on a machine that runs other tests meanwhile


class Filter:
    """A way to a server on which a request with `words` in it is taken and never answered."""

    def __init__(self, target: str, words: bytes) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._words = words
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.withheld = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self._words in data:
                    self.withheld.set()
                    return
                server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def ending_soon(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Send SIGTERM at the end of the block, and see the process end well and in time."""
    try:
        yield
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
        assert time.monotonic() - began < PATIENCE_S
    finally:
        process.kill()
        process.wait()


def test_without_a_model_while_workers_stay_silent(silent: str, tmp_path: Path) -> None:
    urls = [silent, "http://127.0.0.1:9", "dns:http://worker.invalid:8100"]
    config = write_config(tmp_path, worker_urls=urls)
    process = subprocess.Popen(command("--config", config, "--port", 0), stdout=subprocess.PIPE, text=True)
    with ending_soon(process):
        assert process.stdout
        assert process.stdout.readline().startswith("Serving no model yet; ")
        time.sleep(1)  # the silent one is being asked again


def test_while_mlflow_leaves_a_download_unanswered(
    start: Callable[..., Server], mlflow_uri: str, model: Path, other_model: Path
) -> None:
    registry = ModelRegistry(mlflow_uri, "ending")
    first = register(registry, model)
    registry.promote(first, "a test", "Production", True)
    second = register(registry, other_model)
    way = Filter(mlflow_uri, f"{registry.version(second).run_id}/artifacts/artifacts/bundle/".encode())
    server = start(environment={"MLFLOW_TRACKING_URI": way.url}, name="ending", follow_s=0.2)
    with ending_soon(server.process):
        registry.promote(second, "a test", "Production", True)
        assert way.withheld.wait(120)
        assert server.readiness()["model"]["version"] == first
    way.close()


def test_while_a_client_takes_a_stream_and_reads_none_of_it(start: Callable[..., Server]) -> None:
    server = start(max_tokens=1_000_000)
    request = {"topic": "abc", "max_tokens": 1_000_000, "temperature": 0, "stream": True}
    with (
        httpx.Client(timeout=30) as client,
        client.stream("POST", f"{server.url}/v1/articles", json=request) as response,
    ):
        next(response.iter_lines())
        with ending_soon(server.process):
            time.sleep(1)  # what is sent fills the connection


def test_texts_that_are_not_finished_in_time_end_as_errors_and_short_ones_whole(start: Callable[..., Server]) -> None:
    server = start(max_tokens=1_000_000, grace_s=3, slots=3)
    endless = {"topic": "abc", "max_tokens": 1_000_000, "temperature": 0}
    with ThreadPoolExecutor(2) as pool, httpx.Client(timeout=60) as client:
        whole = pool.submit(client.post, f"{server.url}/v1/articles", json=endless)
        prompt = {"prompt": "abc", "max_tokens": 1_000_000, "temperature": 0, "stream": True}
        streamed = pool.submit(client.post, f"{server.url}/v1/completions", json=prompt)
        server.wait_for_metric("textmill_running", 2)
        with client.stream("POST", f"{server.url}/v1/articles", json={"topic": "abc", "stream": True}) as short:
            lines = short.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            assert "event: done" in list(lines)
        assert (whole.result().status_code, whole.result().json()["error"]["type"]) == (503, "not_ready")
        assert "The server is stopping; ask again in a moment." in streamed.result().text.splitlines()[-2]
    assert server.process.wait(timeout=120) == 0
    assert "running task(s)" not in server.log.read_text(encoding="utf-8")  # what uvicorn says where it cuts off
