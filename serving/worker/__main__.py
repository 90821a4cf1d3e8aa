"""A generation worker: one process, one model, one device, OpenAI's completions over HTTP.

    python -m serving.worker --bundle DIR [--port 0] [--device cpu|N] [--slots N] [--threads N]
        [--precision auto] [--engine onnxruntime|ctranslate2]

When it is ready, it prints one line of JSON with its `url`; if it fails, the line has the `error`. It listens on
127.0.0.1 by default, because it checks no API keys.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPU = "cpu"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker until SIGTERM. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.follow_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    # read by CUDA when it is loaded, so before anything that loads it is imported
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if options.device == CPU else options.device
    from textmill.ground.errors import TextmillError

    try:
        asyncio.run(_serve(options))
    except TextmillError as error:
        _say(error=str(error), exit_code=error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.worker", description="Generate texts with one model.")
    parser.add_argument("--bundle", type=Path, required=True, help="the model bundle")
    parser.add_argument("--checksum", default="", help="checksum of a verified bundle; skips its verification")
    parser.add_argument("--name", default="", help="model name for clients (default: the folder's name)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any free port")
    parser.add_argument("--device", default=CPU, help="cpu, or a GPU's number")
    parser.add_argument("--slots", type=int, default=8, help="number of texts generated at the same time")
    parser.add_argument(
        "--threads", type=int, default=0, help="number of CPU threads; 0: all cores, or 1 for a small model"
    )
    parser.add_argument(
        "--precision", default="auto", help="precision of the weights: auto, float32, float16, int8 or int4"
    )
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "ctranslate2"), help="what computes")
    parser.add_argument("--follow-parent", action="store_true", help="exit when standard input closes")
    return parser


def _end_with_parent() -> None:
    # the kernel closes the parent's end of the pipe however the parent ends
    while os.read(0, 1024):
        pass
    os._exit(0)


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


async def _serve(options: argparse.Namespace) -> None:
    """Load the model and answer until SIGTERM or a failure of the engine.

    Raises:
        UserError: the bundle is damaged, or the port cannot be used.
    """
    from aiohttp import web

    from serving.worker.model import load
    from serving.worker.routes import create_app
    from textmill.ground.errors import TextmillError, UserError

    model = load(
        options.bundle,
        options.checksum,
        options.name,
        options.device,
        options.slots,
        options.threads,
        options.precision,
        options.engine,
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    runner = web.AppRunner(
        create_app(model, ended.set), handler_cancellation=True, access_log=None, shutdown_timeout=0.5
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
    except OSError as error:
        raise UserError(
            f"Port {options.port} on {options.host} cannot be used ({os.strerror(error.errno or 0)}); choose another."
        ) from None
    host, port = runner.addresses[0][:2]
    _say(url=f"http://{host}:{port}", **model.description())
    await ended.wait()
    failure = model.engine.failure
    model.engine.close()
    await runner.cleanup()
    if failure:
        raise TextmillError(f"The engine failed ({type(failure).__name__}: {failure}).")


if __name__ == "__main__":
    sys.exit(main())
