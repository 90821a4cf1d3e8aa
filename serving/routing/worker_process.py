"""Worker processes of this server: started, watched, restarted."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from serving.routing.worker import Worker, WorkerFailed
from serving.routing.worker_client import Upstream

_log = logging.getLogger(__name__)
_MISSES = 3  # in a row, each of up to five seconds, until a process that lives is taken for stuck
_START_WITHIN_S = 120  # a large model's weights are read from a slow disk
_END_WITHIN_S = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0  # before a worker that ended is started again; doubled each time
_WELL_S = 30  # a worker that lived so long begins with the first pause again


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a worker runs: `cpu` with a number of threads (0: chosen for the model), or a GPU's number."""

    number: int
    device: str = "cpu"
    threads: int = 0


def placements(workers: int, devices: Sequence[str], threads: int, cores: int) -> list[Placement]:
    """One worker per GPU; without GPUs, `workers` on the CPU, which share its threads."""
    if devices:
        return [Placement(number, device, threads) for number, device in enumerate(devices)]
    if workers == 1:
        return [Placement(0, "cpu", threads)]
    share = max(1, (threads or cores) // workers)
    return [Placement(number, "cpu", share) for number in range(workers)]


@dataclass(frozen=True, slots=True)
class Launch:
    """Starts worker processes of one bundle."""

    http: aiohttp.ClientSession
    bundle: Path
    checksum: str
    model: str
    slots: int
    precision: str = "auto"
    engine: str = "onnxruntime"
    program: Sequence[str] = field(default=(sys.executable, "-P", "-m", "serving.worker"))

    def command(self, placement: Placement) -> list[str]:
        """The command line of a worker, which exits with its parent process."""
        options: dict[str, object] = {
            "bundle": self.bundle,
            "checksum": self.checksum,
            "name": self.model,
            "device": placement.device,
            "slots": self.slots,
            "threads": placement.threads,
            "precision": self.precision,
            "engine": self.engine,
        }
        return [*self.program, "--follow-parent", *(f"--{name}={value}" for name, value in options.items())]


class ProcessWorker(Worker):
    """A child worker process, restarted whenever it exits."""

    def __init__(self, launch: Launch, placement: Placement, changed: Callable[[], None]) -> None:
        super().__init__(f"{placement.number}", launch.slots, changed)
        self.placement = placement
        self.pid: int | None = None
        self.failure: WorkerFailed | None = None  # the latest end of its process
        self._launch = launch

    def status(self) -> dict[str, Any]:
        return {**super().status(), "device": self.placement.device, "pid": self.pid}

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except WorkerFailed as error:
                self.failure, self.problem = error, str(error)
            except Exception as error:  # nobody else would hear of it, and the worker would never come back
                _log.exception("Watching worker %s failed.", self.name)
                self.problem = f"The worker could not be watched ({type(error).__name__})."
            self.settled.set()
            if time.monotonic() - began > _WELL_S:
                pause = _FIRST_PAUSE_S
            _log.warning("Worker %s: %s Restarting in %.1f s.", self.name, self.problem, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            self.restarts += 1

    async def _live(self) -> None:
        """Run the process once, until it exits.

        Raises:
            WorkerFailed: always, with the reason why the process exited.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *self._launch.command(self.placement),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                process_group=0,  # Ctrl-C is for this process, which ends its workers when their texts are done
            )
        except OSError as error:  # too many processes, or no memory for one
            raise WorkerFailed(f"The worker could not be started ({error}).") from error
        self.pid = process.pid
        try:
            await self._until_ready(process)
            await self._watch(process)
        finally:
            self.pid = None
            self._set_ready(False)
            await _end(process)

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_WITHIN_S)
        except TimeoutError:
            raise WorkerFailed(f"The worker was not ready within {_START_WITHIN_S} s.") from None
        if not line:
            raise WorkerFailed(f"The worker exited with code {await process.wait()} before it was ready.")
        try:
            said = json.loads(line)
        except ValueError:
            raise WorkerFailed("The worker sent an unknown line instead of its address.") from None
        if "error" in said:
            raise WorkerFailed(said["error"], said["exit_code"])
        self.description, self.exact = said, said["exact"]
        self.upstream = Upstream(self._launch.http, said["url"], said["model"])
        self.upstream.checksum = self._launch.checksum
        self._set_ready(True)
        self.settled.set()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        assert self.upstream
        exited = asyncio.ensure_future(process.wait())
        misses = 0
        try:
            while misses < _MISSES:
                beat = asyncio.ensure_future(self._beat())
                try:
                    await asyncio.wait((exited, beat), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    beat.cancel()
                if exited.done():
                    raise WorkerFailed(f"The worker exited with code {exited.result()}.")
                well = await self.upstream.healthy()
                misses = 0 if well else misses + 1
                self._set_ready(well)
        finally:
            exited.cancel()
        raise WorkerFailed("The worker stopped answering.")


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _END_WITHIN_S)
    except (TimeoutError, asyncio.CancelledError):
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
