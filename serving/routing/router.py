"""Route a request to a worker by name, user or traffic split; see `serving.interface.types.Router`."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakSet

from serving.interface.errors import NotReady, TooLong, UnknownModel
from serving.interface.metrics import Metrics
from serving.interface.types import Health, Order, Served
from serving.routing.completion import Writing
from serving.routing.deployment import Deployment
from serving.routing.shadow import Shadow
from serving.routing.traffic_split import Route, choose
from serving.routing.worker import status_of

_HOPELESS_S = 30  # a version without any worker for so long turns those away who wait
_TICK_S = 0.5


class WorkerRouter:
    """The routes of a server and the texts in generation."""

    def __init__(self, max_tokens: int, deadline_s: float | None = None) -> None:
        """Start without routes.

        Args:
            max_tokens: limit of one text.
            deadline_s: for orders without a deadline.
        """
        self.max_tokens = max_tokens
        self.routes: list[Route] = []
        self.deployments: list[Deployment] = []  # those on the routes, and those that finish what they began
        self.shadow: Shadow | None = None
        self.problems: list[Callable[[], str]] = []
        self._deadline_s = deadline_s
        self._writings: WeakSet[Writing] = WeakSet()
        self._down_since: dict[Deployment, float] = {}
        self.metrics = Metrics(
            running=lambda: sum(deployment.running for deployment in self.deployments),
            waiting=lambda: sum(deployment.waiting for deployment in self.deployments),
        )

    def models(self) -> list[Served]:
        """The served models, largest traffic share first."""
        total = sum(route.target.share for route in self.routes) or 1
        return [
            replace(route.deployment.served, share=100 * route.target.share / total)
            for route in self.routes
            if route.deployment
        ]

    def pick(self, user: str = "", target: str = "") -> Served:
        """The model for this user, or the requested one.

        Raises:
            NotReady: no model is loaded.
            UnknownModel: the target is not served here.
        """
        return self._chosen(user, target).served

    async def open(self, order: Order) -> Writing:
        """Take a slot, or a place in the queue if no worker is free. Returns at once.

        Raises:
            NotReady, UnknownModel: as `pick`.
            TooLong: the order asks for more tokens than the server allows.
            QueueFull: the queue is full.
        """
        (writing,) = await self.open_all([order])
        return writing

    async def open_all(self, orders: Sequence[Order]) -> list[Writing]:
        """As `open`, for all texts of one request or none."""
        for order in orders:
            if order.settings.max_tokens > self.max_tokens:
                raise TooLong(
                    f"max_tokens is {order.settings.max_tokens}; this server allows at most {self.max_tokens}."
                )
        deployments = [
            self._of(each.served) if each.served else self._chosen(each.user, each.target) for each in orders
        ]
        for deployment in set(deployments):
            deployment.admit(deployments.count(deployment), orders[0].client)
        return [self._begin(order, each) for order, each in zip(orders, deployments, strict=True)]

    def _begin(self, order: Order, deployment: Deployment) -> Writing:
        if order.deadline_s is None:
            order = replace(order, deadline_s=self._deadline_s)
        writing = Writing(deployment, deployment.reserve(order.client), order, self.metrics)
        self._writings.add(writing)
        if self.shadow:
            self.shadow.consider(writing, order)
        return writing

    def health(self) -> Health:
        """Whether the server is ready, and its problems."""
        problems = [problem for each in self.problems if (problem := each())]
        problems += [f"{route.target.label}: {route.problem}" for route in self.routes if route.problem]
        workers = [
            status
            for deployment in self.deployments
            for status in status_of(deployment.workers, str(deployment.served.identity.version or ""))
        ]
        problems += [f"Worker {worker['name']}: {worker['problem']}" for worker in workers if worker["problem"]]
        ready = any(route.deployment and route.deployment.ready for route in self.routes)
        reason = "" if ready else self._reason()
        return Health(ready, reason, problems, workers)

    async def watch(self) -> None:
        """Refuse requests that wait for a version without workers. Runs until cancelled."""
        while True:
            await asyncio.sleep(_TICK_S)
            for deployment in self.deployments:
                if deployment.ready:
                    self._down_since.pop(deployment, None)
                elif time.monotonic() - self._down_since.setdefault(deployment, time.monotonic()) > _HOPELESS_S:
                    deployment.turn_away()
            for gone in self._down_since.keys() - set(self.deployments):
                del self._down_since[gone]
            self.metrics.show([served.identity for served in self.models()], self.health().workers)

    def interrupt(self, message: str) -> None:
        """End all texts with an error that says why, and take no more."""
        for deployment in self.deployments:
            deployment.close(message)
        for writing in list(self._writings):
            writing.interrupt(message)

    async def close(self) -> None:
        """End all workers and interrupt their texts."""
        for deployment in self.deployments:
            deployment.close()
        await asyncio.gather(*(worker.stop() for each in self.deployments for worker in each.workers))

    def _chosen(self, user: str, target: str) -> Deployment:
        routes = [route for route in self.routes if route.deployment]
        if not routes:
            raise NotReady(self._reason())
        if target:
            named = next((route for route in routes if route.answers_to(target)), None)
            if named is None:
                raise UnknownModel(f"Model '{target[:80]}' is not served here; see GET /v1/models.")
        else:
            named = choose(self.routes, user)
        deployment = named.deployment
        if (deployment is None or self._hopeless(deployment)) and not target:
            deployment = next((r.deployment for r in routes if r.deployment and not self._hopeless(r.deployment)), None)
        if deployment is None or self._hopeless(deployment):
            raise NotReady("All workers of the model have failed; see the server's log.")
        return deployment

    def _hopeless(self, deployment: Deployment) -> bool:
        since = self._down_since.get(deployment)
        return not deployment.ready and since is not None and time.monotonic() - since > _HOPELESS_S

    def _of(self, served: Served) -> Deployment:
        identity = served.identity
        for deployment in reversed(self.deployments):  # the newest, where a version has come back
            if deployment.served.identity == identity and deployment.workers:
                return deployment
        raise NotReady(f"Version {identity.version} of '{identity.name}' was replaced; try again.")

    def _reason(self) -> str:
        if any(route.deployment for route in self.routes):
            return "No worker is ready; the workers are restarting."
        problem = next((route.problem for route in self.routes if route.problem), "")
        return problem or "The model is still loading; try again in a moment."
