"""OpenAI's completions over one engine: what a worker answers.

Beyond OpenAI's fields it takes vLLM's for sampling (`serving.worker.model`), and gives vLLM's `stop_reason` (null at the
model's own end) and `continuous_usage_stats`. The prompt is text or token numbers.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from serving.worker.model import Model, Text, joined
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.engine import QueueFull
from textmill.ground.errors import TextmillError, UserError

_WEIGHTS = "model."  # files whose names begin so are for the worker alone
_LARGEST_BODY = 1 << 20  # bytes; a prompt of token numbers that fills the window has some ten thousand
_STUCK_S = 120  # without a token of any text under way; the engine is then taken for stuck


def create_app(model: Model, end: Callable[[], None]) -> web.Application:
    """The worker's application; it calls `end` when the engine has failed."""
    app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[_errors_as_json])
    worker = _Worker(model, end)
    app.router.add_get("/bundle/{name:.+}", worker.file)
    app.router.add_post("/v1/completions", worker.completions)
    app.router.add_get("/v1/models", worker.models)
    app.router.add_get("/health", worker.health)
    app.router.add_get("/metrics", worker.metrics)
    return app


class _Worker:
    """The handlers, and what they count."""

    def __init__(self, model: Model, end: Callable[[], None]) -> None:
        self._model = model
        self._end = end
        self._figures = {"requests": 0, "tokens": 0}
        self._texts: set[Text] = set()

    async def completions(self, request: web.Request) -> web.StreamResponse:
        asked = await _body(request)
        text = Text(self._model, asked)
        self._texts.add(text)
        self._figures["requests"] += 1
        try:
            if asked.get("stream"):
                return await _stream(request, text, asked)
            return web.json_response(await _whole(text))
        finally:
            text.generation.cancel()
            self._texts.remove(text)
            self._figures["tokens"] += text.tokens
            if self._model.engine.failure:
                self._end()

    async def models(self, _: web.Request) -> web.Response:
        model = self._model
        entry = {"id": model.name, "object": "model", "owned_by": "textmill", "max_model_len": model.engine.window}
        return web.json_response({"object": "list", "data": [{**entry, "textmill": model.description()}]})

    async def health(self, _: web.Request) -> web.Response:
        stuck = self._texts and max(text.moved for text in self._texts) < time.monotonic() - _STUCK_S
        failed = stuck or self._model.engine.failure is not None
        return web.json_response({"status": "failed" if failed else "ok"}, status=503 if failed else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        now = {"running": self._model.engine.running, "waiting": self._model.engine.waiting}
        lines = [f"textmill_worker_{name}_total {value}" for name, value in self._figures.items()]
        lines += [f"textmill_worker_{name} {value}" for name, value in now.items()]
        return web.Response(text="\n".join(lines) + "\n")

    async def file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        known = {bundle.MANIFEST, *bundle.read_json(self._model.directory, bundle.MANIFEST)["files"]}
        if name not in known or name.startswith(_WEIGHTS):
            raise web.HTTPNotFound
        return web.FileResponse(self._model.directory / name)


async def _whole(text: Text) -> dict[str, Any]:
    whole = joined([chunk async for chunk in text.chunks()])
    return {**text.event(whole), "usage": text.usage()}


async def _stream(request: web.Request, text: Text, asked: dict[str, Any]) -> web.StreamResponse:
    options = asked.get("stream_options") or {}
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    request["started"] = True

    counted = bool(options.get("continuous_usage_stats"))
    async for chunk in text.chunks():
        await response.write(text.frame(chunk, counted))
    if options.get("include_usage"):
        usage = {**text.head, "choices": [], "usage": text.usage()}
        await response.write(b"data: " + json.dumps(usage).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        asked = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise UserError("The body is not valid JSON.") from None
    if not isinstance(asked, dict):
        raise UserError("The body must be a JSON object.")
    if (asked.get("n") or 1) != 1 or (asked.get("best_of") or 1) != 1:
        raise UserError("This worker writes one text for each request; n must be 1.")
    if not isinstance(asked.get("stream_options") or {}, dict):
        raise UserError("stream_options must be an object.")
    return asked


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except QueueFull as error:
        return _refusal(429, "rate_limit_error", error)
    except UserError as error:
        return _refusal(400, "invalid_request_error", error)
    except TextmillError as error:
        if request.get("started"):
            raise
        return _refusal(503, "server_error", error)


def _refusal(status: int, kind: str, error: Exception) -> web.Response:
    body = {"error": {"message": str(error), "type": kind, "param": None, "code": status}}
    return web.json_response(body, status=status)
