"""A worker's model and its texts, between OpenAI's JSON and the engine's thread."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.errors import TextmillError, UserError
from textmill.gpt2 import bundle
from textmill.gpt2.generation import Chunk, Generation
from textmill.gpt2.inference import Engine
from textmill.gpt2.sampling import Settings

_SETTINGS = ("max_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed")
_SILENCE_S = 15  # after which an empty piece goes out: whoever reads would take a silent worker for lost


@dataclass(frozen=True, slots=True)
class Model:
    """What a worker has loaded."""

    name: str
    checksum: str
    directory: Path
    device: str
    engine: Engine
    slots: int
    lineage: dict[str, Any]

    def description(self) -> dict[str, Any]:
        """What a router wants to know, as JSON."""
        engine = self.engine
        return {
            "model": self.name,
            "checksum": self.checksum,
            "device": self.device,
            "slots": self.slots,
            "window": engine.window,
            "defaults": engine.defaults,
            "lineage": self.lineage,
        }


def load(
    directory: Path, checksum: str, name: str, device: str, slots: int, threads: int, precision: str = "auto"
) -> Model:
    """Load a bundle; with a checksum, only its manifest is checked, because somebody has verified the files.

    Raises:
        UserError: it is damaged, another bundle than the checksum says, or nothing runs on the device.
    """
    if device != "cpu":
        raise UserError(f"Device '{device}' cannot be used: this version generates on CPUs; use --workers instead.")
    if not checksum:
        checksum = bundle.verify(directory)
    elif bundle.read_json(directory, bundle.MANIFEST)["checksum"] != checksum:
        raise UserError(f"The bundle at {directory} is not the one that was verified; fetch it again.")
    engine = Engine(directory, slots, threads, waiting=slots, precision=precision)
    engine.check()
    lineage = bundle.read_json(directory, bundle.LINEAGE)
    return Model(name or directory.name, checksum, directory, device, engine, slots, lineage)


class Text:
    """One text under way, its chunks in the event loop."""

    def __init__(self, model: Model, asked: dict[str, Any]) -> None:
        self.tokens = 0
        self.moved = time.monotonic()  # when the engine last gave something
        self._chunks: asyncio.Queue[Chunk] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(chunk: Chunk) -> None:
            self.moved = time.monotonic()
            loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)

        prompt = _prompt(model.engine, asked.get("prompt"))
        self.prompt_tokens = min(len(prompt), model.engine.room)
        self.generation: Generation = model.engine.submit(prompt, _settings(model.engine, asked), deliver)
        self.head: dict[str, Any] = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
        }
        self.head |= {"model": model.name, "system_fingerprint": model.checksum}

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The text as it grows; what came while nobody read is one chunk, and long silence an empty one."""
        while True:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    chunk = await self._chunks.get()
            except TimeoutError:
                chunk = Chunk("", self.tokens)
            parts = [chunk.text]
            while not chunk.finish and not self._chunks.empty():
                chunk = self._chunks.get_nowait()
                parts.append(chunk.text)
            self.tokens = chunk.tokens
            if chunk.finish in ("failed", "cancelled"):
                raise TextmillError("The engine ended before the text did.")
            yield Chunk("".join(parts), chunk.tokens, chunk.finish)
            if chunk.finish:
                return

    def event(self, chunk: Chunk) -> dict[str, Any]:
        """A chunk in OpenAI's form."""
        ends = {"end": ("stop", None), "stop": ("stop", "stop"), "length": ("length", None)}
        reason, stop = ends[chunk.finish] if chunk.finish else (None, None)
        choice = {"index": 0, "text": chunk.text, "logprobs": None, "finish_reason": reason, "stop_reason": stop}
        return {**self.head, "choices": [choice]}

    def usage(self) -> dict[str, int]:
        """How many tokens were read and written so far."""
        read, written = self.prompt_tokens, self.tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


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


def _settings(engine: Engine, asked: dict[str, Any]) -> Settings:
    given = {name: asked.get(name) for name in _SETTINGS}
    stop = asked.get("stop") or ()
    stop = (stop,) if isinstance(stop, str) else stop
    if given["seed"] is None:
        given["seed"] = secrets.randbits(31)
    if not isinstance(stop, list | tuple) or not all(isinstance(each, str) for each in stop):
        raise UserError("stop must be a text or a list of texts.")
    whole = ("max_tokens", "top_k", "seed")
    for name, value in given.items():
        kinds = (int,) if name in whole else (int, float)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise UserError(f"{name} must be a number.")
    return Settings.of(engine.defaults, {**given, "stop": stop})
