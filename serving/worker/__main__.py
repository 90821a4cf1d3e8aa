"""A generation worker: one process, one model, one device, OpenAI's completions over HTTP.

    python -m serving.worker --bundle DIR [--port 0] [--device cpu|N] [--slots N] [--threads N]
        [--precision auto] [--engine onnxruntime|ctranslate2]

When it answers, it says so on standard output with one line of JSON that has its `url`; when it cannot, the line has
the `error`. It listens on 127.0.0.1 unless told otherwise: it knows no keys and no limits but its own.
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
    """Run a worker until it is told to end; returns the exit code."""
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
    parser = argparse.ArgumentParser(prog="python -m serving.worker", description="Write texts with one model.")
    parser.add_argument("--bundle", type=Path, required=True, help="the model bundle")
    parser.add_argument("--checksum", default="", help="of a bundle verified already, which is then not read twice")
    parser.add_argument("--name", default="", help="the model's name for clients; the folder's if left out")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--device", default=CPU, help="cpu, or the number of a GPU")
    parser.add_argument("--slots", type=int, default=8, help="texts written at the same time")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores, or one for a small model")
    parser.add_argument("--precision", default="auto", help="of the weights: auto, float32, float16, int8 or int4")
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "ctranslate2"), help="what computes")
    parser.add_argument("--follow-parent", action="store_true", help="end when standard input ends")
    return parser


def _end_with_parent() -> None:
    # the kernel closes the parent's end of the pipe however the parent ends
    while os.read(0, 1024):
        pass
    os._exit(0)


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


async def _serve(options: argparse.Namespace) -> None:
    """Load the model, answer, and end at SIGTERM or when the engine has failed.

    Raises:
        UserError: the bundle or the port will not do.
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
        raise TextmillError(f"The engine has failed ({type(failure).__name__}: {failure}).")


if __name__ == "__main__":
    sys.exit(main())
