"""Start a server: find the model, load it, answer.

    python -m serving.server --config textmill.yaml [--port N] [--bundle DIR] [--follow-parent]

The registry's address comes from MLFLOW_TRACKING_URI. Without `--bundle`, the version in the configured stage is
resolved once, fetched, verified and served until the process ends. With it, that directory is served and MLflow is
not asked. What a user can put right ends with exit code 2 and one sentence.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from serving.api import create_app
from serving.model import ServedModel, load
from serving.schemas import ModelIdentity
from serving.writer import Writer
from textmill import config as configuration
from textmill import progress
from textmill.environment import MLFLOW, address
from textmill.errors import TextmillError, UserError
from textmill.gpt2 import bundle
from textmill.registry import ModelRegistry
from textmill.settings import Config

_WAITING_PER_SLOT = 8  # requests that may wait, for each that is served
_GRACE_S = 5  # for articles under way when the server is told to end

Load = Callable[[], ServedModel]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server until it is told to end; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.follow_parent:
        progress.follow_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    logging.Formatter.converter = time.gmtime
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
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE, help="the configuration file")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes a free one; serve.port if left out")
    parser.add_argument("--bundle", type=Path, help="serve this model bundle instead of a registered version")
    parser.add_argument("--follow-parent", action="store_true", help="end when the process that started this one ends")
    return parser


def _serve(options: argparse.Namespace) -> None:
    config = configuration.load(options.config)
    port = config.serve.port if options.port is None else options.port
    with _listen(config.serve.host, port) as listener:
        load_model = _from_directory(config, options.bundle) if options.bundle else _from_registry(config)
        asyncio.run(_answer(Writer(config.serve.max_tokens), listener, load_model))


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything slow is done.

    Raises:
        UserError: another program has it, or the host is not this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Port {port} on {host} cannot be used ({_reason(error)}); "
            "stop the program that has it, or choose another with --port or serve.port."
        ) from None


def _url(listener: socket.socket) -> str:
    """Where this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reason(error: OSError | OverflowError) -> str:
    # create_server adds the address to the system's words, which the sentence has already
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _from_directory(config: Config, directory: Path) -> Load:
    def load_bundle() -> ServedModel:
        checksum = bundle.verify(directory)
        return _load(config, directory, ModelIdentity(name=config.name, version=None, stage=None, checksum=checksum))

    return load_bundle


def _from_registry(config: Config) -> Load:
    """Resolve the stage once, now; what is loaded later is that one version.

    Raises:
        UserError: MLflow does not answer, or the stage is empty.
    """
    registry = ModelRegistry(address(MLFLOW), config.name)
    version = registry.resolve(config.serve.stage)
    if version is None:
        raise UserError(
            f"No version of '{config.name}' is in stage '{config.serve.stage}'. "
            "Promote one with 'textmill promote VERSION'."
        )
    identity = ModelIdentity(name=config.name, version=version.number, stage=version.stage, checksum=version.checksum)
    # what `download` returns has been verified against that checksum
    return lambda: _load(config, registry.download(version, config.data_dir / "models"), identity)


def _load(config: Config, directory: Path, identity: ModelIdentity) -> ServedModel:
    serve = config.serve
    waiting = serve.slots * _WAITING_PER_SLOT
    return load(directory, identity, slots=serve.slots, threads=serve.threads, waiting=waiting)


async def _answer(writer: Writer, listener: socket.socket, load_model: Load) -> None:
    """Answer from now on, at first that the model is being loaded."""
    settings = uvicorn.Config(
        create_app(writer), log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE_S
    )
    server = uvicorn.Server(settings)
    loading = asyncio.create_task(_make_ready(writer, load_model, _url(listener)))
    # a model that cannot be loaded ends the server
    loading.add_done_callback(lambda task: setattr(server, "should_exit", server.should_exit or _failed(task)))
    # uvicorn raises the signal that ended it once more at its end; by then all is done
    signal.signal(signal.SIGTERM, lambda *_: None)
    await server.serve(sockets=[listener])
    if not loading.done():
        loading.cancel()
    elif _failed(loading):
        loading.result()


def _failed(task: "asyncio.Task[None]") -> bool:
    return not task.cancelled() and task.exception() is not None


async def _make_ready(writer: Writer, load_model: Load, url: str) -> None:
    model = await asyncio.to_thread(load_model)
    writer.use(model)
    identity = model.identity
    what = f"version {identity.version} ({identity.stage})" if identity.version else "a bundle from a directory"
    print(f"Serving '{identity.name}', {what}, at {url}", flush=True)
    progress.outcome(url=url, **identity.model_dump())


if __name__ == "__main__":
    sys.exit(main())
