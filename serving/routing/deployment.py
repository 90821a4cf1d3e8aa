"""One served version: its workers and their queue."""

import asyncio

from serving.interface.errors import Interrupted, QueueFull
from serving.interface.types import Served
from serving.routing.turns import Turns
from serving.routing.worker import Worker
from textmill.registry.bundle_cache import Hold

_WAITING_PER_SLOT = 8  # requests that may wait, for each that can be written
_NONE_LEFT = "No worker of this version is left; try again."
_REST_S = 0.2  # for a worker that says it is full


class Deployment:
    """The workers of one version. A request goes to the least busy one or waits in the queue."""

    def __init__(self, served: Served, capacity: int, held: Hold | None = None) -> None:
        """Start without workers.

        Args:
            capacity: texts at the same time, once all workers are ready.
            held: the lock on the bundle's folder, released at the end.
        """
        self.served = served
        self.held = held
        self.workers: list[Worker] = []
        self._limit = capacity * _WAITING_PER_SLOT
        self._waiting = Turns()
        self._resting: set[Worker] = set()
        self._turn = 0
        self._closed = ""  # why no request is taken any more

    @property
    def ready(self) -> bool:
        """Whether any worker is ready."""
        return any(worker.ready for worker in self.workers)

    @property
    def running(self) -> int:
        """The number of texts being generated."""
        return sum(worker.running for worker in self.workers)

    @property
    def waiting(self) -> int:
        """The number of requests waiting for a worker."""
        return len(self._waiting)

    def admit(self, count: int, client: str = "") -> None:
        """Check that so many texts of one request have room; without it, none of them may begin.

        A request finds room in an empty queue however many texts it is, and one text does beside another client's many.

        Raises:
            QueueFull: they do not.
        """
        free = sum(max(0, worker.slots - worker.running) for worker in self.workers if worker.ready)
        waiting = self.waiting + max(0, count - (0 if self.waiting else free))
        others_fill_it = count == 1 and not self._waiting.of(client) and waiting <= 2 * self._limit
        if waiting > self._limit and self.waiting and not others_fill_it:
            raise QueueFull(
                f"The queue has no room for {count} more: {self.waiting} of {self._limit} places are taken; try again in a moment."
            )

    def reserve(self, client: str = "") -> "Place":
        """A slot at a worker, or a place in the queue; `admit` it first."""
        return Place(self, client)

    def free_place(self) -> "Place | None":
        """A slot at an idle worker, or None."""
        return Place(self, "") if not self._waiting and self._least_busy() else None

    def dispatch(self) -> None:
        """Send waiting requests to free workers. Called whenever a slot may have become free."""
        while self._waiting and (worker := self._least_busy()):
            worker.running += 1
            self._waiting.next().set_result(worker)

    def turn_away(self, message: str = _NONE_LEFT) -> None:
        """Refuse waiting requests: no worker has been ready for too long."""
        while self._waiting:
            self._waiting.next().set_exception(Interrupted(message))

    def close(self, message: str = _NONE_LEFT) -> None:
        """Refuse all waiting and future requests."""
        self._closed = message
        self.turn_away(message)

    def _least_busy(self) -> Worker | None:
        free = [w for w in self.workers if w.ready and w.running < w.slots and w not in self._resting]
        if not free:
            return None
        self._turn += 1  # equals take turns
        start = self._turn % len(free)
        return min(free[start:] + free[:start], key=lambda worker: worker.running / worker.slots)

    def _enter(self, client: str, first: bool) -> asyncio.Future[Worker]:
        future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.to_head(client, future) if first else self._waiting.append(client, future)
        if self._closed:
            self.turn_away(self._closed)
        self.dispatch()
        return future

    def _leave(self, client: str, future: asyncio.Future[Worker]) -> None:
        if self._waiting.remove(client, future) or not future.done():
            return
        self._waiting.ended(client)
        if not future.cancelled() and not future.exception():
            future.result().running -= 1
            self.dispatch()

    def _rest(self, worker: Worker) -> None:
        def wake() -> None:
            self._resting.discard(worker)
            self.dispatch()

        self._resting.add(worker)
        asyncio.get_running_loop().call_later(_REST_S, wake)


class Place:
    """One request's place: in the queue, then at a worker. Always free it at the end."""

    def __init__(self, deployment: Deployment, client: str) -> None:
        self._deployment = deployment
        self._client = client
        self._left = False
        self._future = deployment._enter(client, first=False)

    async def worker(self) -> Worker:
        """The worker, once one is free for this request.

        Raises:
            Interrupted: no worker will become free.
        """
        # shielded: a request that is given up must not cancel what the queue hands out
        return await asyncio.shield(self._future)

    def again(self, rest: bool = False) -> None:
        """Leave the worker and wait at the head of the queue; `rest`: the worker is full, not lost."""
        if rest:
            self._deployment._rest(self._future.result())
        self._deployment._leave(self._client, self._future)
        self._future = self._deployment._enter(self._client, first=True)

    def leave(self) -> None:
        """Free the slot. Calling it again has no effect."""
        if not self._left:
            self._left = True
            self._deployment._leave(self._client, self._future)
