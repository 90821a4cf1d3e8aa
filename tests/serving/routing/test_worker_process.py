"""Worker processes are started again when they end, killed when they are stuck, and gone when the server is."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from worker_pools import Loop, launch, until

from serving.routing import worker, worker_client, worker_process
from serving.routing.worker_process import Placement, ProcessWorker, placements


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


async def started(loop: Loop, directory: Path) -> ProcessWorker:
    worker = ProcessWorker(launch(loop.http, directory), Placement(0, threads=1), lambda: None)
    worker.start()
    await worker.settled.wait()
    return worker


def test_a_killed_worker_is_back_as_soon_as_one_starts_and_a_stopped_one_is_gone(loop: Loop, model: Path) -> None:
    async def kill() -> tuple[float, float, int]:
        began = time.monotonic()
        worker = await started(loop, model)
        first_s = time.monotonic() - began
        assert worker.pid
        first = worker.pid
        began = time.monotonic()
        os.kill(first, signal.SIGKILL)
        await until(lambda: worker.ready and worker.pid != first)
        seconds = time.monotonic() - began
        last = worker.pid
        assert last
        await worker.stop()
        assert (worker.ready, worker.restarts) == (False, 1)
        return first_s, seconds, last

    first_s, seconds, last = loop.run(kill())
    assert seconds < 5 + 3 * first_s  # within five seconds, but on a machine that runs other tests meanwhile
    assert not psutil.pid_exists(last)


def test_a_worker_that_is_stuck_is_killed_and_replaced(
    loop: Loop, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_BEAT_S", 0.1)
    monkeypatch.setattr(worker_process, "_END_WITHIN_S", 0.2)
    monkeypatch.setattr(worker_client, "_HEALTH_S", 0.3)

    async def freeze() -> None:
        worker = await started(loop, model)
        first = worker.pid
        assert first
        os.kill(first, signal.SIGSTOP)
        await until(lambda: not worker.ready)
        await until(lambda: worker.ready and worker.pid != first)
        assert not psutil.pid_exists(first)
        await worker.stop()

    loop.run(freeze())


def test_a_worker_that_fails_again_and_again_is_started_ever_more_rarely_and_says_why(
    loop: Loop, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "_LONGEST_PAUSE_S", 0.4)
    starts = tmp_path / "starts"
    program = (
        "python3",
        "-c",
        f"import json, time; open({str(starts)!r}, 'a').write(f'{{time.monotonic()}} ');"
        "print(json.dumps({'error': 'No memory.', 'exit_code': 2}))",
    )

    async def fail() -> None:
        failing = replace(launch(loop.http, model), program=program)
        worker = ProcessWorker(failing, Placement(0), lambda: None)
        worker.start()
        await until(lambda: worker.restarts >= 4)
        assert (worker.ready, worker.problem) == (False, "No memory.")
        assert worker.failure
        assert worker.failure.exit_code == 2
        await worker.stop()

    loop.run(fail())
    times = [float(line) for line in starts.read_text(encoding="utf-8").split()]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[0] > 0.2
    assert min(pauses[1:4]) > 0.4


def test_workers_divide_the_threads_and_each_gpu_has_one() -> None:
    assert placements(1, [], 0, 8) == [Placement(0, "cpu", 0)]
    assert placements(4, [], 0, 8) == [Placement(number, "cpu", 2) for number in range(4)]
    assert placements(4, [], 6, 8)[0].threads == 1
    assert placements(1, ["2", "5"], 0, 8) == [Placement(0, "2", 0), Placement(1, "5", 0)]


def test_a_worker_is_told_its_device_before_it_starts(loop: Loop, model: Path) -> None:
    assert "--device=2" in launch(loop.http, model).command(Placement(0, "2"))
