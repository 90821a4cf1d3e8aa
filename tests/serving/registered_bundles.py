"""Bundles as versions in a real MLflow, without importing `mlflow`, and an MLflow that can be taken away."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from local_servers import free_port

from textmill.gpt2.formats import bundle
from textmill.registry.model_registry import ModelRegistry


def register(registry: ModelRegistry, directory: Path) -> int:
    """Upload a bundle, make it the model's next version, and return its number; it is in no stage yet."""
    with httpx.Client(base_url=f"{registry.tracking_uri}/api/2.0", timeout=60) as mlflow:
        run = mlflow.post("/mlflow/runs/create", json={"experiment_id": "0"}).raise_for_status().json()["run"]["info"]
        root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for file in directory.rglob("*"):
            if file.is_file():
                path = f"{root}/artifacts/bundle/{file.relative_to(directory)}"
                mlflow.put(f"/mlflow-artifacts/artifacts/{path}", content=file.read_bytes()).raise_for_status()
    checksum = bundle.read_json(directory, bundle.MANIFEST)["checksum"]
    version = registry.register(run["artifact_uri"], run["run_id"], "A test's.", {"checksum": checksum})
    return version.number


class Relay:
    """A server's address that can go away and come back, as a network does."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._connections: list[socket.socket] = []
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.url = f"http://127.0.0.1:{self.port}"
        self._up(self._listener)

    def go_away(self) -> None:
        """End every connection, and take no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def come_back(self) -> None:
        """Listen at the same address again."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._up(self._listener)

    def _up(self, listener: socket.socket) -> None:
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
                self._connections += [client, server]
                if listener.fileno() < 0:  # it went away meanwhile
                    client.close()
                    server.close()
                    return
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
