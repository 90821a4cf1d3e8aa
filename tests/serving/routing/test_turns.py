"""Clients take turns, and the texts of one request take their places together or not at all."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_processes import Server
from worker_pools import Loop, order, until, versions
from worker_pools import served as of

from serving.interface.errors import QueueFull
from serving.interface.types import Order
from serving.routing.router import WorkerRouter
from serving.routing.traffic_split import Target
from serving.routing.turns import Turns

ENDLESS = 10_000_000


def test_clients_take_turns_and_a_lost_text_goes_before_all() -> None:
    async def taken() -> list[str]:
        turns, loop = Turns(), asyncio.get_running_loop()
        names = {}
        for client, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")):
            names[future := loop.create_future()] = name
            turns.append(client, future)
        names[lost := loop.create_future()] = "lost"
        turns.to_head("c", lost)
        gone = next(future for future, name in names.items() if name == "c1")
        assert (turns.remove("c", gone), turns.remove("c", gone), len(turns)) == (True, False, 6)
        return [names[turns.next()] for _ in range(len(turns))]

    assert asyncio.run(taken()) == ["lost", "a1", "b1", "a2", "b2", "a3"]


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_a_request_of_many_texts_takes_all_places_or_none_and_holds_up_no_other_client(loop: Loop, model: Path) -> None:
    async def ask() -> list[int]:
        router = WorkerRouter(max_tokens=ENDLESS)
        target = Target("Production", "tiny", 100, "Production")
        await versions(router, loop.http, target, 1, slots=2).use(of(model, 7, "Production"))
        try:

            def many(count: int, client: str, tokens: int) -> list[Order]:
                return [order(number, tokens, client=client, temperature=0) for number in range(count)]

            large = await router.open_all(many(40, "large", ENDLESS))  # more than the queue holds, but it is empty
            (deployment,) = router.deployments
            assert deployment.waiting == 38
            with pytest.raises(QueueFull):
                await router.open_all(many(3, "other", 5))
            assert deployment.waiting == 38
            for completion in large[20:]:
                await completion.close()
            assert deployment.waiting == 18
            (small,) = await router.open_all(many(1, "other", 5))
            await large[0].close()  # its place is the other client's, though `large` has waited for longer
            pieces = [piece async for piece in small.pieces()]
            for completion in (*large, small):
                await completion.close()
            await until(lambda: deployment.running == deployment.waiting == 0)
            return [piece.tokens for piece in pieces]
        finally:
            await router.close()

    assert loop.run(ask())[-1] == 5


def test_each_text_of_a_request_is_counted_where_it_is_written(start: Callable[..., Server]) -> None:
    server = start()
    asked = {"prompt": ["abc"] * 8, "n": 2, "max_tokens": 4}
    assert len(server.post("/v1/completions", json=asked).json()["choices"]) == 16
    assert server.metric('textmill_tokens_total{route="completions",version=""}') == 64
