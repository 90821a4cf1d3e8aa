"""An event loop in a thread of its own, and routers over real worker processes in it."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from serving.interface.schemas import ModelIdentity
from serving.interface.types import Order, Piece, Served
from serving.rollout.rollout import Versions, served_from
from serving.routing import worker_client
from serving.routing.router import WorkerRouter
from serving.routing.traffic_split import Route, Target
from serving.routing.worker_process import Launch, ProcessWorker, placements
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.sampling import Settings

T = TypeVar("T")


class Loop:
    """An event loop that tests hand coroutines to."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.http: aiohttp.ClientSession = self.run(_session())

    def run(self, work: Coroutine[Any, Any, T], within_s: float = 180) -> T:
        """The coroutine's result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    def close(self) -> None:
        self.run(self.http.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _session() -> aiohttp.ClientSession:
    return worker_client.session()


def launch(http: aiohttp.ClientSession, directory: Path, slots: int = 2) -> Launch:
    return Launch(http, directory, bundle.read_json(directory, bundle.MANIFEST)["checksum"], "tiny", slots)


def served(directory: Path, version: int | None = None, stage: str | None = None) -> Served:
    checksum = bundle.read_json(directory, bundle.MANIFEST)["checksum"]
    return served_from(directory, ModelIdentity(name="tiny", version=version, stage=stage, checksum=checksum))


def versions(router: WorkerRouter, http: aiohttp.ClientSession, target: Target, workers: int, slots: int) -> Versions:
    """A route of the router, without a version yet."""
    route = Route(target)
    if target.share:
        router.routes.append(route)
    places = placements(workers, [], workers, workers)

    def start(given: Served) -> Launch:
        assert given.directory
        return launch(http, given.directory, slots)

    return Versions(router, route, places, start, drain_s=20)


def order(seed: int = 1, max_tokens: int = 20, prompt: str = "abc", **fields: Any) -> Order:
    """An order for `abc`, with the bundle's temperature."""
    return Order(
        prompt, Settings(max_tokens=max_tokens, temperature=fields.pop("temperature", 1.0), seed=seed), **fields
    )


async def pieces_of(router: WorkerRouter, given: Order) -> list[Piece]:
    """All pieces of one text."""
    completion = await router.open(given)
    try:
        return [piece async for piece in completion.pieces()]
    finally:
        await completion.close()


async def text_of(router: WorkerRouter, given: Order) -> str:
    """One whole text."""
    return "".join(piece.text for piece in await pieces_of(router, given))


async def until(true: Any, within_s: float = 60) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


def process_workers(router: WorkerRouter) -> list[ProcessWorker]:
    return [w for each in router.deployments for w in each.workers if isinstance(w, ProcessWorker)]
