"""Roll out a version on a route: load it, test it, switch, let the old one finish.

The new version's first worker starts beside the old ones. The route switches once that worker has generated a text. From
then on, new requests go to the new version and old workers finish their texts; as each ends, a new one takes its place.
So there is at most one extra worker, and no text comes from two versions.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from serving.interface.schemas import ModelIdentity
from serving.interface.types import Order, Served
from serving.routing.deployment import Deployment
from serving.routing.router import WorkerRouter
from serving.routing.traffic_split import Route
from serving.routing.worker import Worker, WorkerFailed
from serving.routing.worker_process import Launch, Placement, ProcessWorker
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.sampling import Settings
from textmill.ground.errors import TextmillError
from textmill.registry.bundle_cache import Hold

_log = logging.getLogger(__name__)
_READY_WITHIN_S = 150
_SMOKE_WITHIN_S = 60
_GRACE_S = 2  # between the choice of a version for a request and the request's arrival there
_LOOK_S = 0.05


def served_from(directory: Path, identity: ModelIdentity) -> Served:
    """The description of a verified bundle."""
    return Served(
        identity=identity,
        lineage=bundle.read_json(directory, bundle.LINEAGE),
        defaults=bundle.read_json(directory, bundle.GENERATION),
        window=bundle.read_architecture(directory).window,
        directory=directory,
    )


class Versions:
    """The served version of one route, and its workers."""

    def __init__(
        self,
        router: WorkerRouter,
        route: Route,
        places: Sequence[Placement],
        launch: Callable[[Served], Launch],
        drain_s: float,
    ) -> None:
        """Start without a version.

        Args:
            launch: how to start the workers of a bundle.
            drain_s: seconds in which a replaced version may finish its texts.
        """
        self.route = route
        self._router = router
        self._places = places
        self._launch = launch
        self._drain_s = drain_s
        self._alive: list[Deployment] = []
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def served(self) -> Served | None:
        """The served version."""
        return self.route.deployment.served if self.route.deployment else None

    async def use(self, served: Served, held: Hold | None = None) -> None:
        """Serve this version from now on.

        Args:
            held: the lock on its bundle's folder, released when the version ends.

        Raises:
            TextmillError: its worker does not start or fails its test; the old version stays.
        """
        launch = self._launch(served)
        new = Deployment(served, launch.slots * len(self._places), held)
        self._enlist(new)
        try:
            first = self._start(new, launch, self._places[0])
            await _ready(first)
            await smoke(first, served)
        except BaseException:
            await self._dismiss(new)
            self._router.metrics.swaps.labels("failed").inc()
            raise
        former, self.route.deployment = self.route.deployment, new
        self._router.metrics.swaps.labels("done").inc()
        router = self._router
        router.metrics.show([served.identity for served in router.models()], router.health().workers)
        self._fill()
        if former is None:
            await asyncio.gather(*(_settled(worker) for worker in new.workers))
        else:
            task = asyncio.create_task(self._retire(former))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def _fill(self) -> None:
        """Start a worker of the current version on every empty placement."""
        current = self.route.deployment
        assert current
        taken = {
            worker.placement for each in self._alive for worker in each.workers if isinstance(worker, ProcessWorker)
        }
        for place in self._places:
            if place not in taken:
                self._start(current, self._launch(current.served), place)

    def _start(self, deployment: Deployment, launch: Launch, place: Placement) -> ProcessWorker:
        worker = ProcessWorker(launch, place, deployment.dispatch)
        deployment.workers.append(worker)
        worker.start()
        return worker

    async def _retire(self, former: Deployment) -> None:
        await asyncio.sleep(_GRACE_S)
        await asyncio.gather(*(self._end_when_idle(former, worker) for worker in list(former.workers)))
        await self._dismiss(former)
        _log.info("Version %s has ended.", former.served.identity.version)

    async def _end_when_idle(self, deployment: Deployment, worker: Worker) -> None:
        deadline = time.monotonic() + self._drain_s
        while (worker.running or deployment.waiting) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
        deployment.workers.remove(worker)
        await worker.stop()
        self._fill()

    def _enlist(self, deployment: Deployment) -> None:
        self._alive.append(deployment)
        self._router.deployments.append(deployment)

    async def _dismiss(self, deployment: Deployment) -> None:
        deployment.close()
        await asyncio.gather(*(worker.stop() for worker in deployment.workers))
        for deployments in (self._alive, self._router.deployments):
            with suppress(ValueError):
                deployments.remove(deployment)
        if deployment.held:
            deployment.held.release()

    async def close(self) -> None:
        """Stop waiting for replaced versions; the router ends the workers."""
        for task in self._retiring:
            task.cancel()


async def _settled(worker: Worker) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(worker.settled.wait(), _READY_WITHIN_S)


async def _ready(worker: ProcessWorker) -> None:
    await _settled(worker)
    if not worker.ready:
        raise worker.failure or WorkerFailed("The worker is not ready yet.")


async def smoke(worker: Worker, served: Served) -> None:
    """Test that a worker generates a text and, if its engine promises it, that a seed reproduces it.

    Raises:
        TextmillError: the test failed.
    """
    assert worker.upstream
    settings = Settings.of(served.defaults, {"max_tokens": 8, "seed": 1})
    texts = []
    try:
        async with asyncio.timeout(_SMOKE_WITHIN_S):
            for _ in range(2):
                pieces = [piece async for piece in worker.upstream.stream(Order("The", settings))]
                texts.append("".join(piece.text for piece in pieces))
    except TimeoutError:
        raise TextmillError(f"The worker generated no text within {_SMOKE_WITHIN_S} s.") from None
    if worker.exact and texts[0] != texts[1]:
        raise TextmillError("The worker generated two different texts from one seed.")
