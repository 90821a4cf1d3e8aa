"""Start a server: find the model, start its workers, answer.

    python -m serving.server --config textmill.yaml [--port N] [--bundle DIR] [--workers N | --devices 0,1 |
        --worker-urls URL,URL] [--log json] [--follow-parent]

MLFLOW_TRACKING_URI is the registry's address. Without `--bundle`, the server fetches, verifies and serves the version in
the configured stage, and follows promotions and rollbacks. With `--bundle`, it serves that directory without MLflow. An
error that the user can correct ends with exit code 2 and one sentence.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from serving.app import create_app
from serving.interface import log
from serving.supervisor import Operation
from serving.web import connections
from serving.web.connections import LimitedProtocol
from textmill.console import progress
from textmill.ground.errors import TextmillError, UserError
from textmill.ground.files import private_folder
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config
from textmill.settings.serving import Serve, with_options

_INTERRUPTED_S = 5  # at most for texts under way after Ctrl-C, where serve.grace_s holds for SIGTERM
_ANSWER_S = 3  # for the answers to interrupted texts


class _Threads(ThreadPoolExecutor):
    """Threads that do not delay the exit, even while a name server or MLflow does not answer."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


def run() -> NoReturn:
    """Run `main` and exit at once; Python would wait for all threads."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server until SIGTERM or SIGINT. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.follow_parent:
        progress.follow_parent()
    log.begin(options.log)
    try:
        _serve(options)
    except TextmillError as error:
        print(f"textmill: {error}", file=sys.stderr)
        progress.failed_with(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.server", description="Serve articles over HTTP.")
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE, help="configuration file")
    parser.add_argument("--port", type=int, help="port to listen on; 0: any free port (default: serve.port)")
    parser.add_argument("--bundle", type=Path, help="serve this model bundle instead of a registered version")
    parser.add_argument("--workers", type=int, help="number of CPU worker processes (default: serve.workers)")
    parser.add_argument("--devices", help="GPU numbers, such as 0,1,2,3 (default: serve.devices)")
    parser.add_argument("--engine", help="inference engine (default: serve.engine)")
    parser.add_argument("--worker-urls", help="addresses of remote workers (default: serve.worker_urls)")
    parser.add_argument("--log", choices=("text", "json"), default="text", help="form of the log's lines")
    parser.add_argument("--follow-parent", action="store_true", help="exit when the parent process exits")
    return parser


def _serve(options: argparse.Namespace) -> None:
    config = _options(configuration.load(options.config), options)
    try:
        private_folder(config.data_dir)
    except OSError as error:
        raise UserError(
            f"The data folder {config.data_dir} cannot be made ({_reason(error)}); correct data_dir."
        ) from None
    port = config.serve.port if options.port is None else options.port
    with _listen(config.serve.host, port) as listener:
        asyncio.run(_answer(Operation.plan(config, options.bundle), listener))


def _listen(host: str, port: int) -> socket.socket:
    """Bind the port before any slow work.

    Raises:
        UserError: the port is taken, or the host is not an address of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=512)
        # connections inherit it. Without it, whatever follows an answer's head waits for the client to acknowledge that,
        # which Linux delays by 40 ms; asyncio sets it only on sockets that it made itself
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Port {port} on {host} cannot be used ({_reason(error)}); "
            "stop the program that uses it, or set another with --port or serve.port."
        ) from None


def _url(listener: socket.socket) -> str:
    """The listener's address on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reason(error: OSError | OverflowError) -> str:
    # create_server adds the address to the system's words, which the sentence has already
    if isinstance(error, socket.gaierror):  # its numbers are not the system's
        return f"{error.strerror}; correct serve.host"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _options(config: Config, options: argparse.Namespace) -> Config:
    """The configuration, with the command line's values in place of the file's.

    Raises:
        UserError: a value is not valid.
    """
    given = {
        "workers": options.workers,
        "devices": _listed(options.devices),
        "worker_urls": _listed(options.worker_urls),
        "engine": options.engine,
    }
    said = {name: value for name, value in given.items() if value is not None}
    return config.model_copy(update={"serve": with_options(config.serve, said)})


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


async def _answer(operation: Operation, listener: socket.socket) -> None:
    """Start answering; until the model is loaded, requests get status 503.

    Raises:
        TextmillError: the first model cannot be served.
    """
    asyncio.get_running_loop().set_default_executor(_Threads(thread_name_prefix="server"))
    app = create_app(operation.router, operation.config)
    server = _Server(_settings(app, operation.config.serve), operation)
    ready = asyncio.Event()
    operating = asyncio.create_task(operation.run(ready))
    announcing = asyncio.create_task(_announce(operation, ready, _url(listener)))
    # a model that cannot be loaded ends the server
    operating.add_done_callback(lambda _: setattr(server, "should_exit", True))
    # uvicorn raises the signal that ended it once more at its end; by then all is done
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        await server.serve(sockets=[listener])
    finally:
        announcing.cancel()
        await _end(operating)


def _settings(app: FastAPI, serve: Serve) -> uvicorn.Config:
    asyncio.get_running_loop().set_exception_handler(connections.tell_seldom)
    LimitedProtocol.room = connections.Room(connections.most_connections(serve.connections), serve.receive_s)
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",  # an upgrade would leave the limits of connections
        timeout_keep_alive=connections.KEEP_ALIVE_S,
    )


class _Server(uvicorn.Server):
    """uvicorn's server. Texts that are not finished in time end as errors, not as closed connections."""

    def __init__(self, settings: uvicorn.Config, operation: Operation) -> None:
        super().__init__(settings)
        self._operation = operation

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        grace_s = self._operation.config.serve.grace_s
        if signal.SIGINT in self._captured_signals:
            grace_s = min(grace_s, _INTERRUPTED_S)
        self.config.timeout_graceful_shutdown = int(grace_s) + 1 + _ANSWER_S
        interrupting = asyncio.create_task(self._interrupt(grace_s))
        await super().shutdown(sockets)
        interrupting.cancel()

    async def _interrupt(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._operation.router.interrupt("The server is stopping; ask again in a moment.")


async def _end(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait for its end, even if this task is cancelled too: its workers must exit."""
    task.cancel()
    interrupted = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            interrupted = True
    if interrupted:
        raise asyncio.CancelledError
    if not task.cancelled():
        task.result()


async def _announce(operation: Operation, ready: asyncio.Event, url: str) -> None:
    await ready.wait()
    models = operation.router.models()
    if not models:
        what = f"no model yet; {operation.router.health().reason}"
        print(f"Serving {what} at {url}", flush=True)
        progress.outcome(url=url)
        return
    identity = models[0].identity
    what = f"version {identity.version} ({identity.stage})" if identity.version else "a bundle from a directory"
    if operation.config.serve.worker_urls:
        what = f"from {len(operation.config.serve.worker_urls)} remote workers"
    print(f"Serving '{identity.name}', {what}, at {url}", flush=True)
    progress.outcome(url=url, **identity.model_dump())


if __name__ == "__main__":
    run()
