"""Remote workers: ours in other containers, or other programs such as `vllm serve`.

Each decides which model it serves. Workers with the same model form one version here. While they differ, as in a rolling
update, each version's traffic share is proportional to its number of workers.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from serving.interface.schemas import ModelIdentity
from serving.interface.types import Served
from serving.rollout import discovery
from serving.rollout.bundle_folder import tidy
from serving.rollout.remote_files import fetch
from serving.routing.deployment import Deployment
from serving.routing.router import WorkerRouter
from serving.routing.traffic_split import Route, Target
from serving.routing.worker import Worker
from serving.routing.worker_client import Lost, Upstream
from textmill.registry.bundle_cache import Hold
from textmill.settings.serving import Serve

_log = logging.getLogger(__name__)
_LOOK_S = 0.5
_Key = tuple[str, str]


class RemoteWorker(Worker):
    """A worker at an address. It may be another program."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, serve: Serve, files: Path, changed: Callable[[], None]
    ) -> None:
        """Start before the worker has answered; `files` is a folder for its bundle's files."""
        super().__init__(url, serve.slots, changed)
        self.upstream = Upstream(http, url)
        self._held: Hold | None = None
        self._files = files
        self._keep = serve.keep_models

    @property
    def directory(self) -> Path | None:
        """The local files of its bundle; None for another program."""
        return self._held.directory if self._held else None

    async def stop(self) -> None:
        await super().stop()
        self._let_go()

    async def _run(self) -> None:
        assert self.upstream
        while True:
            try:
                await self._take(await self.upstream.describe())
                self._set_ready(True)
            except Lost as error:
                self.problem = str(error)
                self._set_ready(False)
            except Exception as error:  # whatever another program answers, it is asked again
                _log.exception("The request to the worker at %s failed.", self.name)
                self.problem = f"The model of the worker at {self.name} cannot be read ({type(error).__name__})."
                self._set_ready(False)
            self.settled.set()
            await self._beat()

    async def _take(self, entry: dict[str, Any]) -> None:
        """Record what the worker serves. On a change of model it is not ready until it has been moved."""
        assert self.upstream
        ours = entry.get("textmill")
        description = ours or {"model": entry["id"], "window": entry.get("max_model_len") or 0}
        if description == self.description:
            return
        self._set_ready(False)
        held = await fetch(self.upstream, description["checksum"], self._files) if ours else None
        self._let_go()
        self._held = held
        if held:
            await asyncio.to_thread(tidy, self._files, self._keep)
        self.ours, self.description = ours is not None, description
        self.exact = bool(description.get("exact", self.ours))
        self.slots = description.get("slots", self.slots)
        self.upstream.checksum = description.get("checksum", "")

    def _let_go(self) -> None:
        if self._held:
            self._held.release()
        self._held = None


class RemoteWorkers:
    """Remote workers and the routes to their models."""

    def __init__(self, http: aiohttp.ClientSession, serve: Serve, router: WorkerRouter, files: Path) -> None:
        self._router = router
        self._worker = lambda url: RemoteWorker(http, url, serve, files, self._changed)
        self._workers = [self._worker(url) for url in discovery.fixed(serve.worker_urls)]
        self._found: dict[str, dict[str, RemoteWorker]] = {name: {} for name in discovery.names(serve.worker_urls)}
        self._routes: dict[_Key, Route] = {}
        router.problems.append(self._problem)

    async def start(self) -> None:
        """Ask each worker what it serves; repeat for those that do not answer."""
        for worker in self._workers:
            worker.start()
        await self._discover()
        await asyncio.gather(*(worker.settled.wait() for worker in self._workers))
        self._sort()

    async def follow(self) -> None:
        """Follow changes until cancelled. The workers keep running."""
        try:
            while True:
                await asyncio.sleep(_LOOK_S)
                await self._discover()
                self._sort()
        finally:
            await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def _discover(self) -> None:
        """Add workers that appeared under a name and drop those that disappeared."""
        for name, known in self._found.items():
            urls = await discovery.look_up(name)
            if urls is None:
                continue
            for url in urls - known.keys():
                known[url] = self._worker(url)
                known[url].start()
                self._workers.append(known[url])
            for url in known.keys() - urls:
                await self._leave(known.pop(url))

    async def _leave(self, worker: RemoteWorker) -> None:
        self._workers.remove(worker)
        await worker.stop()
        for route in self._routes.values():
            if route.deployment and worker in route.deployment.workers:
                route.deployment.workers.remove(worker)

    def _sort(self) -> None:
        """Assign every worker that answers to its version."""
        for worker in self._workers:
            if worker.ready:
                self._assign(worker)
        for key, route in list(self._routes.items()):
            assert route.deployment
            if not route.deployment.workers:
                route.deployment.close()
                self._router.deployments.remove(route.deployment)
                del self._routes[key]
            else:
                route.target = Target(key[0], key[0], len(route.deployment.workers))
        self._router.routes[:] = sorted(self._routes.values(), key=lambda route: -route.target.share)

    def _assign(self, worker: RemoteWorker) -> None:
        served = _served(worker)
        key = (served.identity.name, served.identity.checksum)
        if key not in self._routes:
            route = Route(Target(key[0], key[0], 1))
            capacity = sum(each.slots for each in self._workers)
            route.deployment = Deployment(served, capacity)
            self._routes[key] = route
            self._router.deployments.append(route.deployment)
        for route in self._routes.values():
            assert route.deployment
            if route is not self._routes[key] and worker in route.deployment.workers:
                route.deployment.workers.remove(worker)
        deployment = self._routes[key].deployment
        assert deployment
        if worker not in deployment.workers:
            deployment.workers.append(worker)
            deployment.dispatch()

    def _changed(self) -> None:
        self._sort()  # first: a worker that serves another model than before must not be sent the former one's texts
        for deployment in self._router.deployments:
            deployment.dispatch()

    def _problem(self) -> str:
        unknown = [w for w in self._workers if not any(w in each.workers for each in self._router.deployments)]
        return " ".join(worker.problem for worker in unknown)


def _served(worker: RemoteWorker) -> Served:
    said = worker.description
    identity = ModelIdentity(name=str(said["model"]), version=None, stage=None, checksum=str(said.get("checksum", "")))
    window, directory = int(said.get("window", 0)), worker.directory
    return Served(identity, said.get("lineage", {}), said.get("defaults", {}), window, directory, exact=worker.exact)
