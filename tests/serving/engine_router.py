"""A router over engines in this process: what routes are tested against where no worker process is wanted."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi.testclient import TestClient

from serving.app import create_app
from serving.interface.errors import Interrupted, NotReady, QueueFull, TooLong, UnknownModel
from serving.interface.metrics import Metrics
from serving.interface.schemas import ModelIdentity
from serving.interface.types import Health, Order, Piece, Served
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.engine import Engine
from textmill.gpt2.inference.engine import QueueFull as EngineFull
from textmill.gpt2.inference.generation import Chunk
from textmill.settings.config import Config
from textmill.settings.serving import Serve
from textmill.settings.sites import Source


class EngineCompletion:
    """One text of an engine."""

    def __init__(self, engine: Engine, served: Served, order: Order) -> None:
        self.served, self.seed = served, order.settings.seed
        self._chunks: asyncio.Queue[Chunk] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        prompt = order.prompt if isinstance(order.prompt, list) else engine.tokenizer.encode(order.prompt)
        self._read = len(prompt)
        self._generation = engine.submit(
            prompt, order.settings, lambda chunk: loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
        )

    async def pieces(self) -> AsyncIterator[Piece]:
        while True:
            chunk = await self._chunks.get()
            if chunk.finish in ("cancelled", "failed"):
                raise Interrupted("The model stopped before the end of the text; try again in a moment.")
            yield Piece(chunk.text, chunk.tokens, chunk.finish or "", self._read)
            if chunk.finish:
                return

    async def close(self) -> None:
        self._generation.cancel()


class EngineRouter:
    """Engines by their version's number; the first answers who does not choose."""

    def __init__(self, bundles: dict[int, Path], slots: int = 4, max_tokens: int = 60, waiting: int = 8) -> None:
        self.max_tokens = max_tokens
        self.engines = {number: Engine(path, slots, 1, waiting) for number, path in bundles.items()}
        self.metrics = Metrics(running=lambda: 0, waiting=lambda: 0)
        self._models = [self._served(number, path) for number, path in bundles.items()]

    def _served(self, number: int, path: Path) -> Served:
        stage = "Production" if number == min(self.engines) else "Staging"
        identity = ModelIdentity(name="tiny", version=number, stage=stage, checksum=bundle.verify(path))
        engine = self.engines[number]
        lineage = bundle.read_json(path, bundle.LINEAGE)
        return Served(identity, lineage, engine.defaults, engine.window, path, 100 / len(self.engines))

    def models(self) -> list[Served]:
        return self._models

    def pick(self, user: str = "", target: str = "") -> Served:
        if not self._models:
            raise NotReady("The model is still loading; try again in a moment.")
        if not target:
            return self._models[0]
        for served in self._models:
            identity = served.identity
            if target in (identity.name, identity.stage, str(identity.version), f"{identity.name}@{identity.version}"):
                return served
        raise UnknownModel(f"Model '{target[:80]}' is not served here; see GET /v1/models.")

    async def open(self, order: Order) -> EngineCompletion:
        if order.settings.max_tokens > self.max_tokens:
            raise TooLong(f"max_tokens is {order.settings.max_tokens}; this server allows at most {self.max_tokens}.")
        served = order.served or self.pick(order.user, order.target)
        try:
            return EngineCompletion(self.engines[served.identity.version or 0], served, order)
        except EngineFull as error:
            raise QueueFull(str(error), 3) from None

    async def open_all(self, orders: Sequence[Order]) -> list[EngineCompletion]:
        return [await self.open(order) for order in orders]

    def health(self) -> Health:
        return Health(bool(self._models), "" if self._models else "The model is still loading.")

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()


def config(data_dir: Path, **serve: object) -> Config:
    """A configuration with these serve settings."""
    source = Source(name="mills", start="http://127.0.0.1:1/")
    return Config(
        name="tiny", data_dir=data_dir, sources=[source], serve=Serve.model_validate({"hosts": ["*"], **serve})
    )


@contextmanager
def served(bundles: dict[int, Path], data_dir: Path, max_tokens: int = 60, **serve: object) -> Iterator[TestClient]:
    """A client of the application over engines in this process."""
    router = EngineRouter(bundles, max_tokens=max_tokens)
    try:
        with TestClient(create_app(router, config(data_dir, **serve)), raise_server_exceptions=False) as client:
            yield client
    finally:
        router.close()
