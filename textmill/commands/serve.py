"""`textmill serve`: serve the web page and the HTTP API, in a child process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from textmill.commands.project import DEFAULT, ConfigFile, Verbose, project_of
from textmill.ground.environment import MLFLOW, MONGODB
from textmill.ground.errors import UserError

if TYPE_CHECKING:
    from textmill.commands.project import Project

_CHECKED = ("workers", "engine")  # options that are settings as they are; the server reads the others


def serve(
    port: Annotated[int | None, typer.Option(help="Port to listen on; serve.port if left out.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Generation processes on the CPU; serve.workers if left out.")
    ] = None,
    devices: Annotated[str, typer.Option(help="GPUs to generate on, such as 0,1,2,3; one process each.")] = "",
    engine: Annotated[str, typer.Option(help="onnxruntime, or ctranslate2 for older GPUs.")] = "",
    worker_urls: Annotated[str, typer.Option(help="Addresses of remote workers, separated by commas.")] = "",
    bundle: Annotated[Path | None, typer.Option(help="Serve the model in this folder instead of a version.")] = None,
    log: Annotated[str, typer.Option(help="Form of the log's lines: text or json.")] = "text",
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Serve the Production version: web page and HTTP API, until Ctrl-C."""
    from textmill.console import output
    from textmill.settings.serving import with_options

    if log not in ("text", "json"):
        raise UserError(f"--log: '{log}' is not valid; write text or json.")
    given = {"workers": workers, "devices": devices, "engine": engine, "worker-urls": worker_urls, "log": log}
    project = project_of(config, verbose)
    # said at once, before the registry is asked
    with_options(project.config.serve, {name: value for name, value in given.items() if name in _CHECKED and value})
    folder = {"bundle": bundle.absolute()} if bundle else {}
    options = [f"--{name}={value}" for name, value in {**given, **folder}.items() if value]
    with serving(project, port, options) as server:
        output.done("Serving", server.address)
        output.say("Ctrl-C stops it.")
        server.wait()


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> None:
        """Wait until the server ends, which is always an error."""
        from textmill.console import child_process

        code = self.process.wait()
        raise child_process.StepFailed(f"The server ended with code {code}; its log is {self.log}.", code or 1)


@contextmanager
def serving(project: Project, port: int | None = None, options: Sequence[str] = ()) -> Iterator[Server]:
    """Serve the configured stage's version while the block runs; yield the server once it is ready.

    Args:
        options: more options of the server, such as `--workers=4`.

    Raises:
        UserError: there is no such version, or the port is in use.
    """
    from textmill.console import child_process, output
    from textmill.local_servers import servers

    config = project.config.serve
    command = [sys.executable, "-P", "-m", "serving.server", "--follow-parent", "--config", str(project.file)]
    command += ["--port", str(config.port if port is None else port), *options]
    log = project.log("serve")
    without = bool(config.worker_urls) or any(o.startswith(("--worker-urls", "--bundle")) for o in options)
    environment = {} if without else {MLFLOW: project.registry.tracking_uri}
    with suppress(UserError):  # where no store runs, ratings wait on disk
        environment[MONGODB] = servers.store_address(project.config.data_dir)
    child, events = child_process.start_child(command, log, environment, project.verbose)
    try:
        with output.waiting("Loading the model"):
            address = _wait_until_ready(events, log)
        yield Server(address, child, log)
    finally:
        child_process.stop(child)
        events.close()


def _wait_until_ready(events: TextIO, log: Path) -> str:
    """Wait for the server's word that it answers, and return its address."""
    from textmill.console import child_process

    for line in events:
        event = json.loads(line)
        if event["event"] == "failed":
            raise child_process.failed(event, log)
        if event["event"] == "outcome":
            return str(event["values"]["url"])
    raise child_process.StepFailed(f"The server ended before it was ready; its log is {log}.", 1)
