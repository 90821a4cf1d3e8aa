"""A worker as the router sees it: ready or not, and its number of texts."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from serving.routing.worker_client import Upstream
from textmill.ground.errors import TextmillError

_BEAT_S = 2  # between two looks at a worker's health


class WorkerFailed(TextmillError):
    """A worker process exited or does not answer."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Worker(ABC):
    """One worker: whether it is ready, and its number of texts. It runs until stopped."""

    def __init__(self, name: str, slots: int, changed: Callable[[], None]) -> None:
        """Start without a process. `changed` is called whenever readiness changes."""
        self.name = name
        self.slots = slots
        self.upstream: Upstream | None = None
        self.description: dict[str, Any] = {}
        self.exact = True  # a seed decides its texts
        self.ours = True
        self.running = 0
        self.restarts = 0
        self.problem = ""  # why it is not ready
        self.settled = asyncio.Event()  # it has become ready, or failed, for the first time
        self._ready = False
        self._changed = changed
        self._doubt = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether it accepts texts."""
        return self._ready

    def start(self) -> None:
        """Start to run."""
        self._task = asyncio.create_task(self._run(), name=f"worker {self.name}")

    async def stop(self) -> None:
        """Stop it. Its texts are lost."""
        self._set_ready(False)
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def suspect(self) -> None:
        """Report a lost text: the worker gets no more texts until its next health check."""
        self._set_ready(False)
        self._doubt.set()

    def status(self) -> dict[str, Any]:
        """The worker's state for operators."""
        shown = {"name": self.name, "ready": self.ready, "running": self.running, "slots": self.slots}
        return {**shown, "restarts": self.restarts, "problem": self.problem}

    def _set_ready(self, ready: bool) -> None:
        if ready:
            self.problem = ""
        if ready != self._ready:
            self._ready = ready
            self._changed()

    async def _beat(self) -> None:
        """Wait for the next health check; a lost text triggers it at once."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._doubt.wait(), _BEAT_S)
        self._doubt.clear()

    @abstractmethod
    async def _run(self) -> None: ...


def status_of(workers: Sequence[Worker], version: str) -> list[dict[str, Any]]:
    """The state of one version's workers, for operators."""
    return [{**worker.status(), "version": version} for worker in workers]
