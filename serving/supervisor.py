"""The served models: which versions, on which workers, and how they follow the registry."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from serving.interface.schemas import ModelIdentity
from serving.interface.types import Served
from serving.rollout.follower import Follower, resolve_first
from serving.rollout.remote_workers import RemoteWorkers
from serving.rollout.rollout import Versions, served_from
from serving.routing import worker_client
from serving.routing.router import WorkerRouter
from serving.routing.shadow import Shadow
from serving.routing.traffic_split import Route, Target, targets
from serving.routing.worker_process import Launch, Placement, placements
from textmill.gpt2.formats import bundle
from textmill.ground.environment import MLFLOW, address
from textmill.ground.errors import UserError
from textmill.registry.model_registry import ModelRegistry, Version
from textmill.registry.reconciler import Reconciler
from textmill.settings.config import Config
from textmill.settings.serving import Serve

_REGISTRY_WITHIN_S = 15  # for an answer: a login takes MLflow over a second, and a start is watched by someone
_RECONCILE_S = 5.0


@dataclass(frozen=True, slots=True)
class Operation:
    """Plan, then run. `plan` asks the registry once, so that errors show before the port opens."""

    config: Config
    router: WorkerRouter
    bundle: Path | None
    targets: list[Target]
    first: Version | None  # of the largest share

    @classmethod
    def plan(cls, config: Config, directory: Path | None) -> "Operation":
        """Decide which versions to serve.

        Raises:
            UserError: a target is invalid, MLflow does not answer, or the first target's stage is empty.
        """
        serve = config.serve
        router = WorkerRouter(serve.max_tokens, serve.deadline_s)
        local = Target(config.name, config.name, 100.0)
        if directory or serve.worker_urls:
            if serve.split or serve.shadow:
                raise UserError(
                    "serve.split and serve.shadow work only with versions in the registry; "
                    "remove them, --bundle or serve.worker_urls."
                )
            return cls(config, router, directory, [local], None)
        found = targets(serve.split, serve.stage, config.name)
        if serve.shadow:
            found.append(Target.parse(serve.shadow, 0.0, config.name))
        first = resolve_first(found[0], _registry(found[0]), config.data_dir / "models")
        return cls(config, router, None, found, first)

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled; `ready` is set when the first model answers.

        Raises:
            TextmillError: the first model cannot be served.
        """
        stop = threading.Event()
        async with worker_client.session() as http:
            try:
                following = await self._begin(http)
                if self.first:
                    self._reconcile(stop)
                ready.set()
                await asyncio.gather(self.router.watch(), *following)
            finally:
                stop.set()
                await self.router.close()

    async def _begin(self, http: aiohttp.ClientSession) -> list[Coroutine[Any, Any, None]]:
        """Start the first models. Returns the tasks that keep running."""
        if self.config.serve.worker_urls:
            workers = RemoteWorkers(http, self.config.serve, self.router, self.config.data_dir / "models")
            await workers.start()
            return [workers.follow()]
        divided = _divided(self.config.serve, [target.share for target in self.targets])
        versions = [self._versions(http, target, places) for target, places in zip(self.targets, divided, strict=True)]
        if self.bundle:
            await versions[0].use(await asyncio.to_thread(self._from_directory, self.bundle))
            return []
        models = self.config.data_dir / "models"
        keep = self.config.serve.keep_models
        followers = [Follower(each, _registry(each.route.target), models, keep) for each in versions]
        assert self.first
        await followers[0].use(self.first)
        for follower in followers[1:]:
            await follower.look()
        return [follower.follow(self.config.serve.follow_s) for follower in followers]

    def _versions(self, http: aiohttp.ClientSession, target: Target, places: Sequence[Placement]) -> Versions:
        serve = self.config.serve

        def launch(served: Served) -> Launch:
            assert served.directory
            identity = served.identity
            how = serve.slots, serve.precision, serve.engine
            return Launch(http, served.directory, identity.checksum, identity.name, *how)

        route = Route(target)
        if target.share:
            self.router.routes.append(route)
        else:
            self.router.shadow = Shadow(route, serve.shadow_percent, self.router.metrics)
        return Versions(self.router, route, places, launch, serve.drain_s)

    def _from_directory(self, directory: Path) -> Served:
        checksum = bundle.verify(directory)
        return served_from(directory, ModelIdentity(name=self.config.name, version=None, stage=None, checksum=checksum))

    def _reconcile(self, stop: threading.Event) -> None:
        """Mirror stage changes made on MLflow's page, which may set only a version's alias."""
        for name in {target.model for target in self.targets}:
            reconciler = Reconciler(ModelRegistry(address(MLFLOW), name))
            threading.Thread(target=reconciler.run, args=(_RECONCILE_S, stop), daemon=True).start()


def _registry(target: Target) -> ModelRegistry:
    return ModelRegistry(address(MLFLOW), target.model, _REGISTRY_WITHIN_S)


def _divided(serve: Serve, shares: Sequence[float]) -> list[list[Placement]]:
    """The workers of each target: in proportion to its share, at least one; the first gets the rest."""
    wanted = len(serve.devices) or serve.workers
    total = sum(shares) or 1.0
    counts = [max(1, round(wanted * share / total)) for share in shares[1:]]
    counts.insert(0, max(1, wanted - sum(counts)))
    devices = [str(serve.devices[number % wanted]) for number in range(sum(counts))] if serve.devices else []
    every = placements(sum(counts), devices, serve.threads, len(os.sched_getaffinity(0)))
    return [every[sum(counts[:index]) :][:count] for index, count in enumerate(counts)]
