"""Servers that tests start as processes of their own and end by the id they were started under."""

import subprocess
import sys
import time
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from textmill.local_servers.servers import free_port

__all__ = ["free_port", "start_store", "stop"]

PATIENCE_S = 120  # for a server to start


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a child process and wait until it has ended."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_store(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a MongoDB-compatible store and wait until it answers."""
    command = Path(sys.executable).with_name("secantusd-py")
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder), "--log-level", "ERROR"]
    process = subprocess.Popen([command, *arguments])
    deadline = time.monotonic() + PATIENCE_S
    with MongoClient[dict[str, object]](f"mongodb://127.0.0.1:{port}", serverSelectionTimeoutMS=200) as client:
        while True:
            try:
                client.admin.command("ping")
                return process
            except PyMongoError:
                if process.poll() is not None or time.monotonic() > deadline:
                    stop(process)
                    raise
                time.sleep(0.05)
