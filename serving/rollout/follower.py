"""A promotion or a rollback in the registry changes what a route serves, within seconds."""

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
    """No version is in the stage that is asked for."""


def resolve(target: Target, registry: ModelRegistry) -> Version:
    """The version that a target names now.

    Raises:
        UserError: there is none, or the registry does not answer.
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
    """The version that a target names now, or the one served last where the registry does not answer.

    Raises:
        UserError: the stage is empty, or the registry does not answer and nothing was ever served here.
    """
    try:
        return resolve(target, registry)
    except EmptyStage:
        raise
    except UserError as error:
        version = remembered(target, models)
        if version is None:
            raise
        _log.warning("%s Version %s was served last and is served again.", error, version.number)
        return version


class Follower:
    """Keeps one route on the version that its target names in the registry."""

    def __init__(self, versions: Versions, registry: ModelRegistry, models: Path, keep: int) -> None:
        """Begin with what the route serves, mostly nothing.

        Args:
            models: folder for the bundles that are fetched; other servers may share it.
            keep: bundles that stay there besides those in use and those that a rollback would restore.
        """
        self._versions = versions
        self._registry = registry
        self._models = models
        self._keep = keep
        self._failed: dict[tuple[int, str], tuple[float, str]] = {}  # when, and why

    async def use(self, version: Version) -> None:
        """Fetch a version, verify it and serve it.

        Raises:
            TextmillError: it cannot be fetched, is damaged or does not write; what was served goes on.
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
        _log.info("'%s' answers with version %s (%s).", target.label, version.number, version.stage)
        await asyncio.to_thread(tidy, self._models, self._keep)

    async def follow(self, every_s: float) -> None:
        """Look again and again; runs until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except Exception:  # whatever a registry answers, what is served goes on
                _log.exception("The registry could not be followed.")
                self._versions.route.problem = "The registry could not be followed; the log has the reason."

    async def look(self) -> None:
        """Change over if the registry names another version than is served."""
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
            why = f"Version {version.number} cannot be served: {error} {_goes_on(served)}"
            self._failed[key] = (time.monotonic(), why)
            self._say(why)
        else:
            self._failed.clear()
            route.problem = ""

    def _say(self, problem: str) -> None:
        route = self._versions.route
        if problem != route.problem:
            (_log.warning if problem else _log.info)(
                "%s: %s", self._versions.route.target.label, problem or "all is well again."
            )
        route.problem = problem


def _goes_on(served: Served | None) -> str:
    return f"Version {served.identity.version} goes on." if served else ""
