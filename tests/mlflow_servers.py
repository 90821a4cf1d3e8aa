"""MLflow servers that tests start as processes of their own: one that asks for a login, one behind a path."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from local_servers import free_port, stop

PATIENCE_S = 300  # a server makes its database first, on a machine that runs other tests meanwhile
ADMIN, PASSWORD = "admin", "a-long-password"
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "a test's",
    "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
}
LOGINS = """
[mlflow]
default_permission = READ
database_uri = sqlite:///{}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass(frozen=True)
class Mlflow:
    """A server, and the variables that a client of it needs."""

    uri: str
    environment: dict[str, str]

    @property
    def login(self) -> tuple[str, str] | None:
        """The name and the password, for a test that asks it directly."""
        found = self.environment.get("MLFLOW_TRACKING_USERNAME"), self.environment.get("MLFLOW_TRACKING_PASSWORD", "")
        return (found[0], found[1]) if found[0] else None


@contextmanager
def mlflow_servers(folder: Path) -> Iterator[dict[str, Mlflow]]:
    """`login` and `prefix`, both with a database and artifacts of their own, until the block ends."""
    (folder / "logins.ini").write_text(LOGINS.format(folder / "logins.db"), encoding="utf-8")
    with ExitStack() as stack:
        ports = {"login": free_port(), "prefix": free_port()}
        options = {"login": ("--app-name", "basic-auth"), "prefix": ("--static-prefix", "/mlflow")}
        processes = {name: _start(folder / name, port, options[name]) for name, port in ports.items()}
        for process in processes.values():
            stack.callback(stop, process)
        found = {
            "login": Mlflow(f"http://127.0.0.1:{ports['login']}", {}),
            "prefix": Mlflow(f"http://127.0.0.1:{ports['prefix']}/mlflow", {}),
        }
        for name, server in found.items():
            _wait(server.uri, processes[name], folder / name / "log")
        # a user as an administrator makes one, who may do what is not forbidden
        user = {"username": "writer", "password": "another-long-pässword"}
        address = f"{found['login'].uri}/api/2.0/mlflow/users/create"
        requests.post(address, json=user, auth=(ADMIN, PASSWORD), timeout=60).raise_for_status()
        named = {"MLFLOW_TRACKING_USERNAME": user["username"], "MLFLOW_TRACKING_PASSWORD": user["password"]}
        yield found | {"login": Mlflow(found["login"].uri, named)}


def _start(folder: Path, port: int, options: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    folder.mkdir()
    places = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", folder / "files"]
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *places]
    logins = {"MLFLOW_AUTH_CONFIG_PATH": str(folder.with_name("logins.ini"))}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--workers", "1", *options],
            cwd=folder,
            env={**os.environ, **QUIET, **logins},
            stdout=log,
            stderr=log,
        )


def _wait(uri: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            requests.get(f"{uri}/health", timeout=5).raise_for_status()
            return
        except requests.RequestException:
            assert process.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
            time.sleep(0.1)
