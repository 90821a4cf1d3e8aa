"""Many clients, clients that leave, and more than can wait."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from server_processes import Server

# greedy choice never falls on the rare end token
ENDLESS = {"topic": "abc", "max_tokens": 1_000_000, "stream": True, "temperature": 0}


@pytest.fixture(scope="module")
def narrow(start: Callable[..., Server]) -> Server:
    """A server that writes one article at a time, and articles without end."""
    return start(slots=1, max_tokens=1_000_000)


def open_endless(stack: ExitStack, url: str) -> None:
    """Begin a stream that does not end by itself."""
    response = stack.enter_context(httpx.stream("POST", f"{url}/v1/articles", json=ENDLESS, timeout=60))
    assert response.status_code == 200
    lines = response.iter_lines()
    stack.callback(lines.close)  # a dropped iterator would close the connection
    assert next(lines) == "event: start"


def test_a_client_that_leaves_a_stream_frees_its_slot(narrow: Server) -> None:
    before = narrow.metric('textmill_articles_total{finish="cancelled",route="articles",version=""}')
    with ExitStack() as stack:
        open_endless(stack, narrow.url)
        narrow.wait_for_metric("textmill_running", 1)
    narrow.wait_for_metric("textmill_running", 0)
    narrow.wait_for_metric('textmill_articles_total{finish="cancelled",route="articles",version=""}', before + 1)


def test_a_client_that_leaves_without_a_stream_frees_its_slot(narrow: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{narrow.url}/v1/articles", json={**ENDLESS, "stream": False}, timeout=0.5)
    narrow.wait_for_metric("textmill_running", 0)


def test_a_client_that_leaves_while_it_waits_frees_its_place(narrow: Server) -> None:
    with ExitStack() as running:
        open_endless(running, narrow.url)
        narrow.wait_for_metric("textmill_running", 1)
        with ExitStack() as waiting:
            open_endless(waiting, narrow.url)
            narrow.wait_for_metric("textmill_waiting", 1)
        narrow.wait_for_metric("textmill_waiting", 0)
    narrow.wait_for_metric("textmill_running", 0)


def test_a_full_queue_answers_429_and_when_to_come_back(narrow: Server) -> None:
    with ExitStack() as stack:
        open_endless(stack, narrow.url)
        narrow.wait_for_metric("textmill_running", 1)
        for _ in range(8):  # as many as may wait for one slot
            open_endless(stack, narrow.url)
        response = narrow.post("/v1/articles", json={"topic": "abc"})
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["error"]["type"] == "too_many_requests"
    narrow.wait_for_metric("textmill_running", 0)
    assert narrow.post("/v1/articles", json={"topic": "abc", "max_tokens": 5}).status_code == 200


def test_clients_at_once_get_what_each_would_get_alone(server: Server) -> None:
    def ask(seed: int) -> str:
        request = {"topic": "abcde"[: seed % 5 + 1], "seed": seed, "max_tokens": 20 + seed}
        return str(httpx.post(f"{server.url}/v1/articles", json=request, timeout=60).json()["text"])

    alone = [ask(seed) for seed in range(12)]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(12))) == alone
