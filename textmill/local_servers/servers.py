"""Start and stop the local servers: a MongoDB-compatible store, MLflow and TensorBoard.

They run until `textmill down`. `servers.json` in the data folder records their processes and ports; a restart uses the
same ports. A store or an MLflow in the environment (TEXTMILL_MONGODB_URI, MLFLOW_TRACKING_URI) is used instead of a
local one.
"""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from textmill.ground.environment import MLFLOW, MONGODB
from textmill.ground.errors import TextmillError, UserError
from textmill.ground.files import write_beside

_START_WITHIN_S = 120  # MLflow's first start creates its database
_STOP_WITHIN_S = 10
_CLOCK_STEPS_S = 60  # by as much may a process seem to have started at another time, after the clock was set
_STATE = "servers.json"
_QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nine processes and 1.5 GB for evaluations that we do not run there
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of the servers."""

    mongodb: str
    mlflow: str
    tensorboard: str | None = None

    def environment(self) -> dict[str, str]:
        """The environment variables that tell a child process these addresses."""
        return {MONGODB: self.mongodb, MLFLOW: self.mlflow}


@dataclass(frozen=True, slots=True)
class _Server:
    """How to start one kind of server and how to know that it answers."""

    name: str
    title: str
    command: Callable[[Path, int], list[str]]
    address: str  # a format of the port
    answers: Callable[[str, int], bool]


def _accepts(_: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def _answers_http(path: str) -> Callable[[str, int], bool]:
    def answers(address: str, _: int) -> bool:
        try:
            return requests.get(address + path, timeout=2).ok
        except requests.RequestException:
            return False

    return answers


def _store_command(data: Path, port: int) -> list[str]:
    program = Path(sys.executable).with_name("secantusd-py")
    if not program.exists():
        raise UserError(
            f"No article store is installed: install the extra 'local', or set {MONGODB} to the address of a MongoDB."
        )
    folder = data / "store"
    return [str(program), *_listen(port), "--storage-path", str(folder), "--log-level", "ERROR", "--cache-size", "256M"]


def _mlflow_command(data: Path, port: int) -> list[str]:
    database, artifacts = data / "mlflow" / "mlflow.db", data / "mlflow" / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    places = ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(artifacts)]
    return [sys.executable, "-P", "-m", "mlflow", "server", *_listen(port), *places, "--workers", "1"]


def _tensorboard_command(data: Path, port: int) -> list[str]:
    logs, names = Path("pipeline") / "artifacts" / "FineTune" / "run", "trainings"
    (data / names).mkdir(parents=True, exist_ok=True)
    # TensorBoard's page shows the folder, so relative to the data folder
    page = ["--logdir", names, "--reload_interval", "10", "--window_title", "Textmill"]
    return [sys.executable, "-P", "-m", "textmill.local_servers.tensorboard", str(logs), *_listen(port), *page]


def _listen(port: int) -> list[str]:
    return ["--host", "127.0.0.1", "--port", str(port)]


STORE = _Server("store", "article store", _store_command, "mongodb://127.0.0.1:{}/", _accepts)
TRACKING = _Server("mlflow", "MLflow", _mlflow_command, "http://127.0.0.1:{}", _answers_http("/health"))
TENSORBOARD = _Server("tensorboard", "TensorBoard", _tensorboard_command, "http://127.0.0.1:{}", _answers_http("/"))


def _mirror(name: str) -> _Server:
    """What mirrors moves of this model made in MLflow's page; it listens to nobody."""
    return _Server(
        "mirror",
        "mirror of MLflow's page",
        lambda data, _: [sys.executable, "-P", "-m", "textmill.local_servers.stage_mirror", str(data), name],
        "",
        lambda *_: True,
    )


def free_port(preferred: int = 0) -> int:
    """A free loopback port: the preferred one if possible."""
    for port in (preferred or _unasked_port(), _unasked_port(), 0):
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(server.getsockname()[1])
    raise UserError("This machine has no free loopback port; close some programs and try again.")


def _unasked_port() -> int:
    """One below those that Linux gives to whoever asks for any, as a server may take long to listen; 0: not known."""
    try:
        lowest_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return 20_000 + secrets.randbelow(lowest_given - 20_000) if lowest_given > 20_000 else 0


def up(data: Path, tensorboard: bool = True, mirrored: str = "") -> Addresses:
    """Start the servers that are not running and wait until all answer.

    Args:
        mirrored: the model whose moves on MLflow's page are mirrored, if any.

    Raises:
        UserError: a server is not installed.
        TextmillError: a server does not start; the message names its log.
    """
    wanted = [server for server, variable in ((STORE, MONGODB), (TRACKING, MLFLOW)) if not os.environ.get(variable)]
    if tensorboard:
        wanted.append(TENSORBOARD)
    with _state(data) as state:
        for server in wanted:
            if not _running(state.get(server.name)):
                state[server.name] = _start(server, data, state.get(server.name, {}).get("port", 0))
                write_beside(data / _STATE, json.dumps(state, indent=1))  # at once: what runs must be known to `down`
        for server in wanted:
            _wait(server, state[server.name], data)
        if mirrored and not _running(state.get("mirror")):
            state["mirror"] = _start(_mirror(mirrored), data, 0)
            write_beside(data / _STATE, json.dumps(state, indent=1))
    return addresses(data)


def down(data: Path) -> list[str]:
    """Stop the servers that `up` started; return their titles."""
    stopped = []
    with _state(data) as state:
        for server in (_mirror(""), TENSORBOARD, TRACKING, STORE):
            entry = state.get(server.name)
            if entry and (process := _running(entry)):
                _stop(process)
                stopped.append(server.title)
    return stopped


def addresses(data: Path) -> Addresses:
    """The addresses of the store and MLflow: from the environment, or else as `up` started them.

    Raises:
        UserError: one of them is neither in the environment nor running.
    """
    entry = _read(data).get(TENSORBOARD.name)
    shown = TENSORBOARD.address.format(entry["port"]) if entry and _running(entry) else None
    return Addresses(store_address(data), tracking_address(data), shown)


def store_address(data: Path) -> str:
    """The article store's address; UserError if it is neither in the environment nor running."""
    return _address(data, STORE, MONGODB)


def tracking_address(data: Path) -> str:
    """MLflow's address; UserError if it is neither in the environment nor running."""
    return _address(data, TRACKING, MLFLOW)


def _address(data: Path, server: _Server, variable: str) -> str:
    if named := os.environ.get(variable):
        return named
    entry = _read(data).get(server.name)
    if not entry or not _running(entry):
        named = server.title if server.title[0].isupper() else f"The {server.title}"
        raise UserError(f"{named} is not running; start it with 'textmill up' or set {variable}.")
    return server.address.format(entry["port"])


def log_of(data: Path, name: str) -> Path:
    """The log file of a server or a step."""
    path = data / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _state(data: Path) -> Iterator[dict[str, Any]]:
    """The state of the servers, while no other command starts or stops them."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _read(data)


def _read(data: Path) -> dict[str, Any]:
    path = data / _STATE
    if not path.exists():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _running(entry: dict[str, Any] | None) -> psutil.Process | None:
    """The process of an entry, if it is still that process: its number may have gone to another program."""
    if not entry:
        return None
    try:
        process = psutil.Process(entry["pid"])
        same = abs(process.create_time() - entry["started"]) < _CLOCK_STEPS_S
    except psutil.NoSuchProcess:
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def _start(server: _Server, data: Path, former_port: int) -> dict[str, Any]:
    port = free_port(former_port)
    with log_of(data, server.name).open("ab") as log:
        process = subprocess.Popen(
            server.command(data, port),
            cwd=data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **_QUIET},
            start_new_session=True,  # Ctrl-C in the terminal is for the command, not for the servers
        )
    return {"pid": process.pid, "started": psutil.Process(process.pid).create_time(), "port": port}


def _wait(server: _Server, entry: dict[str, Any], data: Path) -> None:
    address = server.address.format(entry["port"])
    end = time.monotonic() + _START_WITHIN_S
    while not server.answers(address, entry["port"]):
        if not _running(entry):
            raise TextmillError(f"The {server.title} did not start; its log is {log_of(data, server.name)}.")
        if time.monotonic() > end:
            raise TextmillError(
                f"The {server.title} does not answer at {address} after {_START_WITHIN_S} s; its log is {log_of(data, server.name)}."
            )
        time.sleep(0.1)


def _stop(process: psutil.Process) -> None:
    try:
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGTERM)
    except psutil.NoSuchProcess:  # it ended by itself just now
        return
    _, alive = psutil.wait_procs(family, timeout=_STOP_WITHIN_S)
    for each in alive:
        each.kill()
    psutil.wait_procs(alive, timeout=_STOP_WITHIN_S)
