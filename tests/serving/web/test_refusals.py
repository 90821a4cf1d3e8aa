"""What a worker refuses is passed on as the worker says it; what is the worker's own fault is not blamed on the request."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from aiohttp import web
from server_processes import Server
from worker_pools import Loop

MESSAGE = "This model's maximum context length is 64 tokens; you asked for 90."


class Refusing:
    """Another program's worker, which refuses every text with a status and a field that the test sets."""

    def __init__(self) -> None:
        self.status, self.param = 400, "prompt"
        self.url = ""
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._completions)
        self._runner = web.AppRunner(app)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "gpt2-large", "max_model_len": 64}]})

    async def _completions(self, request: web.Request) -> web.Response:
        await request.read()
        error = {"message": MESSAGE, "type": "BadRequestError", "param": self.param, "code": self.status}
        return web.json_response({"error": error}, status=self.status)


@pytest.fixture(scope="module")
def worker() -> Iterator[Refusing]:
    loop, worker = Loop(), Refusing()
    loop.run(worker.start())
    yield worker
    loop.run(worker.stop())
    loop.close()


@pytest.fixture(scope="module")
def remote(start: Callable[..., Server], worker: Refusing) -> Server:
    """A server over that worker."""
    server = start("--worker-urls", worker.url)
    server.wait_until(lambda said: said["models"])
    return server


@pytest.mark.parametrize("param", ["prompt", "max_tokens", None])
def test_a_refusal_has_the_workers_words_and_its_field(remote: Server, worker: Refusing, param: str | None) -> None:
    worker.status, worker.param = 400, param
    for route, asked, status in (("articles", {"topic": "abc"}, 422), ("completions", {"prompt": "abc"}, 400)):
        answer = httpx.post(f"{remote.url}/v1/{route}", json=asked, timeout=60)
        assert answer.status_code == status
        assert (answer.json()["error"]["message"], answer.json()["error"]["param"]) == (MESSAGE, param)
    streamed = httpx.post(f"{remote.url}/v1/articles", json={"topic": "abc", "stream": True}, timeout=60).text
    assert MESSAGE in streamed.partition("event: error")[2]


def test_a_worker_that_knows_no_such_model_is_not_the_requests_fault(remote: Server, worker: Refusing) -> None:
    worker.status, worker.param = 404, "model"
    answer = httpx.post(f"{remote.url}/v1/articles", json={"topic": "abc"}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "not_ready")
    assert MESSAGE not in answer.text
