"""Client of a worker: OpenAI's completions over HTTP, also for other programs such as vLLM."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import aiohttp

from serving.interface.errors import WorkerRefused
from serving.interface.types import Order, Piece
from textmill.gpt2.inference.sampling import Settings
from textmill.ground.errors import TextmillError

_CONNECT_S = 2
_SILENCE_S = 60  # without a word from a worker that writes: it is taken for lost
_FOREIGN_SILENCE_S = 300  # of another program's worker, which says nothing while it reads a prompt
_HEALTH_S = 5
_LONGEST_LINE = 1 << 20  # bytes
_REFUSALS = (400, 413, 422)  # what is wrong is the request
_UNSENT = ("line_breaks", "repetition_window", "fewest_words")  # a worker takes its bundle's, others know none
_OPTIONAL = ("min_p", "frequency_penalty", "presence_penalty", "logit_bias", "min_tokens", "ignore_eos")
_LONGEST_PARAM = 64  # characters
_LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError, OSError)


class Lost(TextmillError):
    """The worker exited or stopped answering before the text ended."""


class Busy(TextmillError):
    """The worker is full."""


def session() -> aiohttp.ClientSession:
    """One HTTP session for all workers; connections are reused."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        read_bufsize=_LONGEST_LINE,
        trust_env=False,
    )


class Upstream:
    """One worker at one address."""

    def __init__(self, http: aiohttp.ClientSession, url: str, model: str = "") -> None:
        self.url = url.rstrip("/")
        self.model = model
        self.checksum = ""  # of the bundle that its texts must come from; "" takes any
        self._http = http

    async def healthy(self) -> bool:
        """Whether its health check succeeds."""
        try:
            limit = aiohttp.ClientTimeout(total=_HEALTH_S)
            async with self._http.get(f"{self.url}/health", timeout=limit) as answer:
                return answer.status == 200
        except _LOST:
            return False

    async def describe(self) -> dict[str, Any]:
        """The first model it lists. Later requests use its name.

        Raises:
            Lost: it does not answer, or not in the form of OpenAI's API.
        """
        try:
            limit = aiohttp.ClientTimeout(total=_HEALTH_S)
            async with self._http.get(f"{self.url}/v1/models", timeout=limit) as answer:
                entry = dict((await answer.json(content_type=None))["data"][0])
                self.model = str(entry["id"])
                return entry
        except (*_LOST, ValueError, KeyError, IndexError, TypeError) as error:
            raise Lost(f"The worker at {self.url} did not list its model ({type(error).__name__}).") from error

    async def file(self, name: str) -> bytes:
        """A file of its bundle. Only our workers offer these.

        Raises:
            Lost: the worker does not send it.
        """
        try:
            async with self._http.get(f"{self.url}/bundle/{quote(name)}") as answer:
                answer.raise_for_status()
                return await answer.read()
        except (*_LOST, aiohttp.ClientError) as error:
            raise Lost(f"The worker at {self.url} did not send {name} ({type(error).__name__}).") from error

    async def stream(self, order: Order, exact: bool = True) -> AsyncGenerator[Piece, None]:
        """The worker's text, piece by piece; the last piece has a finish reason.

        Args:
            exact: whether the worker is ours; others get OpenAI's fields and some of vLLM's, where they are used.

        Raises:
            Lost: the worker exited before the text ended.
            Busy: the worker is full.
            WorkerRefused: the worker refused the request; any worker would.
        """
        try:
            async with self._ask(order, exact) as answer:
                async for piece in _pieces(answer.content, self.checksum):
                    yield piece
                    if piece.finish:
                        return
        except _LOST as error:
            raise Lost(f"The worker at {self.url} was lost ({type(error).__name__}).") from error
        raise Lost(f"The worker at {self.url} closed the stream before the text ended.")

    @asynccontextmanager
    async def _ask(self, order: Order, exact: bool) -> AsyncIterator[aiohttp.ClientResponse]:
        body = _request(order, self.model, exact)
        silence = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S if exact else _FOREIGN_SILENCE_S
        )
        async with self._http.post(f"{self.url}/v1/completions", json=body, timeout=silence) as answer:
            if answer.status == 429:
                raise Busy(f"The worker at {self.url} is full.")
            if answer.status in _REFUSALS:
                raise await _refusal(answer)
            if answer.status != 200:  # 401 or 404 too: who asked us can do nothing about it
                raise Lost(f"The worker at {self.url} answered with status {answer.status}.")
            yield answer


def _request(order: Order, model: str, exact: bool) -> dict[str, Any]:
    settings = asdict(order.settings)
    stop = list(settings.pop("stop"))
    settings["logit_bias"] = {str(token): bias for token, bias in settings["logit_bias"]}
    for name in _UNSENT:
        del settings[name]
    neutral = {**asdict(Settings()), "logit_bias": {}}
    for name in _OPTIONAL if exact else (*_OPTIONAL, "top_k", "repetition_penalty"):
        # -1 or absent is vLLM's word for all; OpenAI's own servers refuse what they do not know
        if settings[name] == neutral[name]:
            del settings[name]
    return {
        "model": model,
        "prompt": order.prompt,
        **settings,
        **({"stop": stop} if stop else {}),
        **({"logprobs": order.logprobs} if order.logprobs is not None else {}),
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }


async def _refusal(answer: aiohttp.ClientResponse) -> WorkerRefused:
    try:
        said = await answer.json(content_type=None)
        error = said.get("error", said)
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        return WorkerRefused(f"The worker refused the request: status {answer.status}.")
    return WorkerRefused(message, param[:_LONGEST_PARAM] if param and isinstance(param, str) else None)


async def _pieces(lines: aiohttp.StreamReader, checksum: str) -> AsyncIterator[Piece]:
    """The pieces of a server-sent event stream. The last one waits for the usage that may follow."""
    tokens = prompt_tokens = 0
    last: Piece | None = None
    async for line in lines:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        try:
            event = json.loads(line[6:])
        except ValueError:
            raise Lost("The worker's stream cannot be read.") from None
        if checksum and event.get("system_fingerprint") != checksum:
            raise Lost("The worker now serves a different model.")
        choice = (event.get("choices") or [None])[0]
        usage = event.get("usage") or {}
        tokens = usage.get("completion_tokens", tokens + (choice is not None))
        prompt_tokens = usage.get("prompt_tokens", prompt_tokens)
        if choice is None:
            continue
        piece = Piece(choice.get("text", ""), tokens, _finish(choice), prompt_tokens, choice.get("logprobs"))
        if piece.finish:
            last = piece
        else:
            yield piece
    if last:
        yield Piece(last.text, tokens, last.finish, prompt_tokens, last.logprobs)


def _finish(choice: dict[str, Any]) -> Any:
    reason = choice.get("finish_reason")
    if reason == "stop":
        # vLLM's word for what stopped it: null at the model's own end
        return "stop" if choice.get("stop_reason") is not None else "end"
    return "length" if reason == "length" else ""
