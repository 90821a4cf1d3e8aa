"""A worker's model and texts: from OpenAI's JSON to the engine's thread and back."""

import asyncio
import json
import math
import secrets
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.worker.ctranslate2_engine import CTranslate2Engine
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.engine import Engine as OnnxEngine
from textmill.gpt2.inference.generation import Chunk
from textmill.gpt2.inference.logprobs import MOST, as_openai
from textmill.gpt2.inference.sampling import Settings
from textmill.ground.errors import TextmillError, UserError

Engine = OnnxEngine | CTranslate2Engine
ENGINES: dict[str, type[OnnxEngine] | type[CTranslate2Engine]] = {
    "onnxruntime": OnnxEngine,
    "ctranslate2": CTranslate2Engine,
}
_WHOLE = ("max_tokens", "top_k", "seed", "min_tokens")
_NUMBERS = (*_WHOLE, "temperature", "top_p", "repetition_penalty", "min_p", "frequency_penalty", "presence_penalty")
# what a text grows by within this time is one event: nobody reads faster, and each costs two processes some work
_GATHERED_S = 0.04
_SILENCE_S = 15  # after which an empty piece goes out: whoever reads would take a silent worker for lost


@dataclass(frozen=True, slots=True)
class Model:
    """A worker's loaded model."""

    name: str
    checksum: str
    directory: Path
    device: str
    engine: Engine
    slots: int
    lineage: dict[str, Any]
    post: "Post"

    def description(self) -> dict[str, Any]:
        """The model's description for the router, as JSON."""
        engine = self.engine
        return {
            "model": self.name,
            "checksum": self.checksum,
            "device": self.device,
            "slots": self.slots,
            "window": engine.window,
            "defaults": engine.defaults,
            "exact": engine.exact,
            "lineage": self.lineage,
        }


def load(
    directory: Path,
    checksum: str,
    name: str,
    device: str,
    slots: int,
    threads: int,
    precision: str = "auto",
    engine: str = "onnxruntime",
) -> Model:
    """Load a bundle. With a checksum, only the manifest is checked: the files were verified before.

    Args:
        device: cpu, or the number of this process's GPU.
        engine: onnxruntime or ctranslate2.

    Raises:
        UserError: it is damaged, does not match the checksum, or cannot run on the device.
    """
    if not checksum:
        checksum = bundle.verify(directory)
    elif bundle.read_json(directory, bundle.MANIFEST)["checksum"] != checksum:
        raise UserError(f"The bundle at {directory} changed after its verification; fetch it again.")
    place = "cpu" if device == "cpu" else "cuda"
    loaded = ENGINES[engine](directory, slots, threads, waiting=slots, precision=precision, device=place)
    loaded.check()
    lineage = bundle.read_json(directory, bundle.LINEAGE)
    return Model(
        name or directory.name, checksum, directory, device, loaded, slots, lineage, Post(asyncio.get_running_loop())
    )


class Post:
    """Moves chunks from engine threads to the event loop, with one wake-up per step."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.Queue[Chunk], Chunk]] = []

    def put(self, queue: "asyncio.Queue[Chunk]", chunk: Chunk) -> None:
        """Put a chunk into a queue of the event loop. Safe from any thread."""
        with self._lock:
            self._waiting.append((queue, chunk))
            first = len(self._waiting) == 1
        if first:
            self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for queue, chunk in waiting:
            queue.put_nowait(chunk)


class Text:
    """One text in generation; its chunks are in the event loop."""

    def __init__(self, model: Model, asked: dict[str, Any]) -> None:
        self.tokens = 0
        self.moved = time.monotonic()  # when the engine last gave something
        self._chunks: asyncio.Queue[Chunk] = asyncio.Queue()

        gathered: list[Chunk] = []  # not yet put; the engine adds the next one before long
        put = -math.inf

        def deliver(chunk: Chunk) -> None:
            nonlocal put
            self.moved = time.monotonic()
            gathered.append(chunk)
            if chunk.finish or self.moved - put >= _GATHERED_S:
                put = self.moved
                model.post.put(self._chunks, joined(gathered))
                gathered.clear()

        prompt = _prompt(model.engine, asked.get("prompt"))
        self.prompt_tokens = min(len(prompt), model.engine.room)
        settings, self._logprobs = _settings(model.engine, asked), _logprobs(asked)
        self.generation = model.engine.submit(prompt, settings, deliver, self._logprobs)
        self.head: dict[str, Any] = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
        }
        self.head |= {"model": model.name, "system_fingerprint": model.checksum}
        self._common = json.dumps(self.head)[:-1]

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The text in chunks: unread ones are merged, and a long silence gives an empty one."""
        self._break_silence()
        try:
            async for chunk in self._arriving():
                yield chunk
        finally:
            self._beat.cancel()

    def _break_silence(self) -> None:
        if self.moved < time.monotonic() - _SILENCE_S:
            self._chunks.put_nowait(Chunk("", self.tokens))
        self._beat = asyncio.get_running_loop().call_later(_SILENCE_S, self._break_silence)

    async def _arriving(self) -> AsyncIterator[Chunk]:
        while True:
            came = [await self._chunks.get()]
            while not came[-1].finish and not self._chunks.empty():
                came.append(self._chunks.get_nowait())
            chunk = joined(came)
            self.tokens = chunk.tokens
            if chunk.finish in ("failed", "cancelled"):
                raise TextmillError("The engine stopped before the text ended.")
            yield chunk
            if chunk.finish:
                return

    def event(self, chunk: Chunk) -> dict[str, Any]:
        """A chunk in OpenAI's form."""
        ends = {"end": ("stop", None), "stop": ("stop", "stop"), "length": ("length", None)}
        reason, stop = ends[chunk.finish] if chunk.finish else (None, None)
        scores = None if self._logprobs is None else as_openai(chunk.scores)
        choice = {"index": 0, "text": chunk.text, "logprobs": scores, "finish_reason": reason, "stop_reason": stop}
        return {**self.head, "choices": [choice]}

    def frame(self, chunk: Chunk, counted: bool) -> bytes:
        """A chunk as a server-sent event, with the token counts if requested."""
        choice = json.dumps(self.event(chunk)["choices"])
        usage = f', "usage": {json.dumps(self.usage())}' if counted else ""
        return f'data: {self._common}, "choices": {choice}{usage}}}\n\n'.encode()

    def usage(self) -> dict[str, int]:
        """The number of tokens read and generated so far."""
        read, written = self.prompt_tokens, self.tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """What a text grew by in several chunks as one."""
    last = chunks[-1]
    scores = tuple(each for chunk in chunks for each in chunk.scores)
    return Chunk("".join(chunk.text for chunk in chunks), last.tokens, last.finish, scores)


def _prompt(engine: Engine, prompt: Any) -> list[int]:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise UserError("The prompt must be text; it holds half a character.")
        return engine.tokenizer.encode(prompt) or [engine.tokenizer.end]
    vocabulary = engine.tokenizer.vocabulary
    if not isinstance(prompt, list) or not prompt or not all(type(t) is int and 0 <= t < vocabulary for t in prompt):
        raise UserError(f"The prompt must be text or token numbers from 0 to {vocabulary - 1}.")
    return prompt


def _logprobs(asked: dict[str, Any]) -> int | None:
    count = asked.get("logprobs")
    if count is not None and (type(count) is not int or not 0 <= count <= MOST):
        raise UserError(f"logprobs must be a whole number from 0 to {MOST}.")
    return count


def _settings(engine: Engine, asked: dict[str, Any]) -> Settings:
    given = {name: asked.get(name) for name in _NUMBERS}
    stop = asked.get("stop") or ()
    stop = (stop,) if isinstance(stop, str) else stop
    if given["seed"] is None:
        given["seed"] = secrets.randbits(31)
    if not isinstance(stop, list | tuple) or not all(isinstance(each, str) for each in stop):
        raise UserError("stop must be a text or a list of texts.")
    for name, value in given.items():
        kinds = (int,) if name in _WHOLE else (int, float)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise UserError(f"{name} must be a number.")
    bias, ignore_eos = _bias(asked.get("logit_bias")), asked.get("ignore_eos") or False
    if not isinstance(ignore_eos, bool):
        raise UserError("ignore_eos must be true or false.")
    return Settings.of(engine.defaults, {**given, "stop": stop, "logit_bias": bias, "ignore_eos": ignore_eos})


def _bias(given: Any) -> list[tuple[int, float]]:
    """OpenAI's object of token numbers, as text, and numbers."""
    try:
        return [(int(token), float(bias)) for token, bias in dict(given or {}).items()]
    except (TypeError, ValueError, OverflowError):
        raise UserError("logit_bias must be an object of token numbers and numbers.") from None
