"""Workers are killed while they write, and the server itself; workers of other programs come and go."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from aiohttp import web
from local_servers import free_port
from server_processes import Server
from worker_pools import Loop, order, text_of, until

from serving.interface.errors import Interrupted
from serving.rollout.remote_workers import RemoteWorkers
from serving.routing.router import WorkerRouter
from textmill.gpt2.formats import bundle
from textmill.settings.serving import Serve

TOKENS = 1000
KILLS = 2  # a text is given up when it has lost three workers


def ask(server: Server, seed: int, stream: bool = False) -> str:
    """A text's words, whichever way they come."""
    request = {"topic": "abc", "seed": seed, "max_tokens": TOKENS, "temperature": 0.9, "stream": stream}
    answer = httpx.post(f"{server.url}/v1/articles", json=request, timeout=180)
    assert answer.status_code == 200, answer.text
    if not stream:
        return str(answer.json()["text"])
    name, data = answer.text.strip().split("\n\n")[-1].split("\n", 1)
    assert name == "event: done", data
    return str(json.loads(data.removeprefix("data: "))["text"])


def pids(server: Server) -> list[int]:
    return [worker["pid"] for worker in server.readiness().get("workers", []) if worker["ready"]]


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_killed_under_load_cost_no_request_and_change_no_text(start: Callable[..., Server]) -> None:
    server = start(workers=2, max_tokens=TOKENS)
    alone = [ask(server, seed) for seed in range(4)]
    ended = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        # one at a time, and only while both are there and it writes
        while len(killed) < KILLS and not ended.wait(0.2):
            workers = server.readiness().get("workers", [])
            if sum(worker["ready"] for worker in workers) == 2 and (
                busy := [w["pid"] for w in workers if w["running"]]
            ):
                killed.append(random.choice(busy))
                os.kill(killed[-1], signal.SIGKILL)

    def client(number: int) -> list[tuple[int, str]]:
        """Texts until enough workers were killed, and four at least."""
        found: list[tuple[int, str]] = []
        while len(found) < 4 or (killer.is_alive() and time.monotonic() < end):
            seed = (number + len(found)) % 4
            found.append((seed, ask(server, seed, stream=len(found) % 2 == 0)))
        return found

    end = time.monotonic() + 120
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with ThreadPoolExecutor(4) as clients:
            answers = [answer for found in clients.map(client, range(4)) for answer in found]
    finally:
        ended.set()
        killer.join()
    assert len(killed) == KILLS
    assert [(seed, text) for seed, text in answers if text != alone[seed]] == []
    assert server.metric("textmill_retries_total") > 0
    server.wait_until(lambda said: len([w for w in said["workers"] if w["ready"]]) == 2)


def test_a_killed_server_leaves_no_worker_behind(start: Callable[..., Server]) -> None:
    server = start(workers=2)
    workers = [psutil.Process(pid) for pid in pids(server)]
    assert len(workers) == 2
    server.process.kill()
    server.process.wait()
    end = time.monotonic() + 60
    while any(map(alive, workers)):
        assert time.monotonic() < end
        time.sleep(0.05)


class Foreign:
    """Another program's server that speaks OpenAI's protocol, as `vllm serve` does."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.breaks = False
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._completions)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://127.0.0.1:{1}".format(*self._runner.addresses[0])

    async def stop(self) -> None:
        assert self._runner
        await self._runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "gpt2-large", "max_model_len": 1024}]})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word, finish in (("The ", None), ("wheel ", None), ("turns.", "stop")):
            choice = {"index": 0, "text": word, "finish_reason": finish, "stop_reason": None}
            await response.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            if self.breaks and request.transport:
                await asyncio.sleep(0.05)
                request.transport.close()
                return response
        usage = {"prompt_tokens": 2, "completion_tokens": 3}
        await response.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_another_programs_worker_answers_under_its_own_model_name(loop: Loop, tmp_path: Path) -> None:
    async def through() -> tuple[str, Foreign, WorkerRouter]:
        foreign = Foreign()
        await foreign.start()
        router = WorkerRouter(100)
        await RemoteWorkers(loop.http, Serve(worker_urls=[foreign.url]), router, tmp_path).start()
        try:
            text = await text_of(router, order(prompt="The wheel"))
            served = router.pick(target="gpt2-large")
            assert (served.exact, served.directory, served.window) == (False, None, 1024)
            foreign.breaks = True
            # what it wrote before cannot be written again, so it is not begun again
            with pytest.raises(Interrupted):
                await text_of(router, order())
            return text, foreign, router
        finally:
            await router.close()
            await foreign.stop()

    text, foreign, _ = loop.run(through())
    assert text == "The wheel turns."
    assert foreign.asked[0]["model"] == "gpt2-large"
    assert "repetition_penalty" not in foreign.asked[0]
    assert len(foreign.asked) == 2


def test_remote_workers_of_ours_come_and_go_and_may_change_their_version(
    loop: Loop, model: Path, other_model: Path, tmp_path: Path
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def worker(directory: Path, port: int) -> str:
        command = [sys.executable, "-m", "serving.worker", "--follow-parent", "--name", "tiny", "--threads", "1"]
        command += ["--bundle", str(directory), "--port", str(port)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        output = started[-1].stdout
        assert output
        return str(json.loads(output.readline())["url"])

    port = free_port()  # one that nobody is given while no worker has it
    url = worker(model, port)

    async def change() -> None:
        router = WorkerRouter(100)
        remote = RemoteWorkers(loop.http, Serve(worker_urls=[url]), router, tmp_path)
        await remote.start()
        following = asyncio.create_task(remote.follow())
        try:
            first = router.pick()
            text = await text_of(router, order(seed=2))
            assert first.exact
            assert first.directory  # what the prompt is made with is here, the weights are not
            assert (first.directory / bundle.TOKENIZER).read_bytes() == (model / bundle.TOKENIZER).read_bytes()
            assert not (first.directory / bundle.WEIGHTS).exists()
            assert text == await text_of(router, order(seed=2))
            started[0].kill()
            started[0].wait()
            # nobody is there: a request waits, and the next worker may be of another version
            waiting = asyncio.create_task(text_of(router, order(seed=2)))
            await asyncio.to_thread(worker, other_model, port)
            await until(lambda: router.models() and router.pick().identity != first.identity)
            assert await text_of(router, order(seed=2)) != text
            with pytest.raises(Interrupted):
                await waiting
        finally:
            following.cancel()
            await router.close()

    try:
        loop.run(change())
    finally:
        for process in started:
            process.kill()
            process.wait()
