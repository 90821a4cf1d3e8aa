"""Shadow version: it gets copies of some requests; its texts are compared, then discarded."""

import asyncio
import json
import random
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from serving.interface.metrics import Metrics
from serving.interface.types import Order, Served
from serving.routing.completion import Writing
from serving.routing.traffic_split import Route
from textmill.gpt2.formats import bundle
from textmill.ground.errors import TextmillError


class Shadow:
    """Sends copies of a fraction of the requests to one version while that version is idle."""

    def __init__(self, route: Route, percent: float, metrics: Metrics) -> None:
        self.route = route
        self._percent = percent
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, original: Writing, order: Order) -> None:
        """Copy a request at random; skip it if no worker is free at once."""
        deployment = self.route.deployment
        if deployment is None or random.random() * 100 >= self._percent:
            return
        same_tokens = isinstance(order.prompt, str) or _same_tokenizer(original.served, deployment.served)
        place = deployment.free_place() if same_tokens else None
        if place is None:
            self._metrics.shadow.labels("skipped").inc()
            return
        copy = Writing(deployment, place, replace(order, served=None), self._metrics)
        task = asyncio.create_task(self._compare(original, copy))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, original: Writing, copy: Writing) -> None:
        began = time.monotonic()
        try:
            async for piece in copy.pieces():
                if piece.finish:
                    self._metrics.shadow_tokens.inc(piece.tokens)
            self._metrics.shadow_s.observe(time.monotonic() - began)
            text = await original.whole()
            outcome = "original ended early" if text is None else "same" if text == await copy.whole() else "different"
        except TextmillError:
            outcome = "failed"
        finally:
            await copy.close()
        self._metrics.shadow.labels(outcome).inc()


def _same_tokenizer(one: Served, other: Served) -> bool:
    if one.directory is None or other.directory is None:
        return False
    return _tokenizer_checksum(one.directory) == _tokenizer_checksum(other.directory)


@lru_cache(maxsize=64)
def _tokenizer_checksum(directory: Path) -> str:
    manifest = json.loads((directory / bundle.MANIFEST).read_text(encoding="utf-8"))
    return str(manifest["files"][bundle.TOKENIZER]["sha256"])
