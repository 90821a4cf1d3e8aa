"""Follow the registry: a promotion or rollback changes what a route serves within seconds."""

import asyncio
import logging
import time
from pathlib import Path

from serving.interface.schemas import ModelIdentity
from serving.interface.types import Served
from serving.rollout.bundle_folder import remember, remembered, tidy
from serving.rollout.rollout import Versions, served_from
from serving.routing.traffic_split import Target
from textmill.ground.errors import TextmillError, UserError
from textmill.registry.model_registry import ModelRegistry, Version

_log = logging.getLogger(__name__)
_TRY_AGAIN_S = 30  # before a version that failed is tried again: its artifact may have been mended


class EmptyStage(UserError):
    """The requested stage has no version."""


def resolve(target: Target, registry: ModelRegistry) -> Version:
    """The current version of a target.

    Raises:
        UserError: the stage is empty, or the registry does not answer.
    """
    if target.number is not None:
        return registry.version(target.number)
    version = registry.resolve(target.stage)
    if version is None:
        raise EmptyStage(
            f"No version of '{target.model}' is in stage '{target.stage}'. Promote one with 'textmill promote VERSION'."
        )
    return version


def resolve_first(target: Target, registry: ModelRegistry, models: Path) -> Version:
    """The current version of a target, or the last served one if the registry does not answer.

    Raises:
        UserError: the stage is empty, or the registry does not answer and no version was served before.
    """
    try:
        return resolve(target, registry)
    except EmptyStage:
        raise
    except UserError as error:
        version = remembered(target, models)
        if version is None:
            raise
        _log.warning("%s Serving version %s, the last one served.", error, version.number)
        return version


class Follower:
    """Keeps one route on the registry's current version of its target."""

    def __init__(self, versions: Versions, registry: ModelRegistry, models: Path, keep: int) -> None:
        """Start from what the route serves now, usually nothing.

        Args:
            models: folder for fetched bundles; other servers may share it.
            keep: number of bundles to keep besides those in use and those that a rollback would restore.
        """
        self._versions = versions
        self._registry = registry
        self._models = models
        self._keep = keep
        self._failed: dict[tuple[int, str], tuple[float, str]] = {}  # when, and why

    async def use(self, version: Version) -> None:
        """Fetch a version, verify it and serve it.

        Raises:
            TextmillError: it cannot be fetched, is damaged or fails its test; the served version stays.
        """
        held = await asyncio.to_thread(self._registry.hold, version, self._models)
        identity = ModelIdentity(
            name=version.name, version=version.number, stage=version.stage, checksum=version.checksum
        )
        try:
            await self._versions.use(served_from(held.directory, identity), held)
        except BaseException:
            held.release()
            raise
        target = self._versions.route.target
        remember(target, version, held.directory, self._models)
        _log.info("'%s' now serves version %s (%s).", target.label, version.number, version.stage)
        await asyncio.to_thread(tidy, self._models, self._keep)

    async def follow(self, every_s: float) -> None:
        """Check the registry repeatedly until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except Exception:  # whatever a registry answers, what is served goes on
                _log.exception("The check for a newly promoted version failed.")
                self._versions.route.problem = "The check for a newly promoted version failed; see the server's log."

    async def look(self) -> None:
        """Switch if the registry names another version than the served one."""
        route = self._versions.route
        served = self._versions.served
        try:
            version = await asyncio.to_thread(resolve, route.target, self._registry)
        except TextmillError as error:
            self._say(f"{error} {_goes_on(served)}")
            return
        key = (version.number, version.checksum)
        if served and key == (served.identity.version, served.identity.checksum):
            self._say("")
            return
        when, why = self._failed.get(key, (0.0, ""))
        if why and time.monotonic() - when < _TRY_AGAIN_S:
            self._say(why)
            return
        try:
            await self.use(version)
        except (TextmillError, OSError) as error:
            why = f"Version {version.number} could not be served: {error} {_goes_on(served)}"
            self._failed[key] = (time.monotonic(), why)
            self._say(why)
        else:
            self._failed.clear()
            route.problem = ""

    def _say(self, problem: str) -> None:
        route = self._versions.route
        if problem != route.problem:
            (_log.warning if problem else _log.info)(
                "%s: %s", self._versions.route.target.label, problem or "No problem remains."
            )
        route.problem = problem


def _goes_on(served: Served | None) -> str:
    return f"Version {served.identity.version} stays in service." if served else ""
