"""Requests find the least busy worker, wait their turn, survive the loss of a worker, and are split as configured."""

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_pools import Loop, order, pieces_of, process_workers, text_of, until, versions
from worker_pools import served as of

from serving.interface.errors import DeadlinePassed, NotReady, QueueFull, TooLong, UnknownModel, WorkerRefused
from serving.interface.schemas import ModelIdentity
from serving.interface.types import Order, Piece
from serving.routing.deployment import Deployment
from serving.routing.router import WorkerRouter
from serving.routing.shadow import Shadow
from serving.routing.traffic_split import Route, Target, choose, targets
from textmill.gpt2.inference import engine as inference
from textmill.gpt2.inference.engine import Engine
from textmill.gpt2.inference.sampling import Settings
from textmill.ground.errors import UserError

ENDLESS = 10_000_000


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def router(loop: Loop, model: Path) -> Iterator[WorkerRouter]:
    """Two workers of two rows each."""

    async def begin() -> WorkerRouter:
        router = WorkerRouter(max_tokens=ENDLESS)
        await versions(router, loop.http, Target("Production", "tiny", 95, "Production"), 2, slots=2).use(
            of(model, 7, "Production")
        )
        return router

    router = loop.run(begin())
    yield router
    loop.run(router.close())


def test_a_text_is_what_the_engine_alone_writes(loop: Loop, router: WorkerRouter, model: Path) -> None:
    with Engine(model, slots=1, threads=1) as engine:
        alone = inference.generate(engine, engine.tokenizer.encode("abc"), Settings(20, 1.0, seed=5))
    pieces = loop.run(pieces_of(router, order(seed=5)))
    assert "".join(piece.text for piece in pieces) == alone.text
    assert (pieces[-1].finish, pieces[-1].tokens, pieces[-1].prompt_tokens) == ("length", 20, 3)


def test_requests_go_to_the_least_busy_worker(loop: Loop, router: WorkerRouter) -> None:
    async def three() -> list[int]:
        completions = [await router.open(order(max_tokens=ENDLESS, temperature=0)) for _ in range(3)]
        await until(lambda: sum(w.running for w in process_workers(router)) == 3)
        running = sorted(worker.running for worker in process_workers(router))
        for completion in completions:
            await completion.close()
        return running

    assert loop.run(three()) == [1, 2]
    assert [worker.running for worker in process_workers(router)] == [0, 0]


def test_a_full_queue_refuses_and_a_closed_text_makes_room(loop: Loop, router: WorkerRouter) -> None:
    async def fill() -> None:
        taken = [await router.open(order(max_tokens=ENDLESS, temperature=0)) for _ in range(4 + 32)]
        with pytest.raises(QueueFull):
            await router.open(order())
        await taken.pop().close()
        last = await router.open(order(max_tokens=4))
        for completion in taken:
            await completion.close()
        assert [piece.finish async for piece in last.pieces()][-1] == "length"
        await last.close()

    loop.run(fill())
    assert [worker.running for worker in process_workers(router)] == [0, 0]


def test_a_deadline_ends_a_text_and_frees_its_place(loop: Loop, router: WorkerRouter) -> None:
    with pytest.raises(DeadlinePassed):
        loop.run(pieces_of(router, order(max_tokens=ENDLESS, temperature=0, deadline_s=0.2)))
    assert [worker.running for worker in process_workers(router)] == [0, 0]


def test_what_cannot_be_served_is_refused(loop: Loop, router: WorkerRouter) -> None:
    with pytest.raises(TooLong):
        loop.run(router.open(order(max_tokens=ENDLESS + 1)))
    with pytest.raises(WorkerRefused, match="token numbers"):
        loop.run(pieces_of(router, Order([99], Settings())))
    with pytest.raises(UnknownModel):
        router.pick(target="gpt-5")
    with pytest.raises(NotReady):
        loop.run(WorkerRouter(9).open(Order("a", Settings(max_tokens=1))))
    for name in ("7", "version:7", "production", "tiny", "tiny@7", "tiny@Production"):
        assert router.pick(target=name).identity.version == 7


def test_a_text_goes_on_where_its_worker_was_killed_as_if_nothing_had_happened(
    loop: Loop, router: WorkerRouter
) -> None:
    asked = order(seed=11, max_tokens=6000, logprobs=0)

    async def killed() -> list[Piece]:
        completion = await router.open(asked)
        parts = []
        async for piece in completion.pieces():
            parts.append(piece)
            if len(parts) == 3:
                busy = next(worker for worker in process_workers(router) if worker.running)
                assert busy.pid
                os.kill(busy.pid, signal.SIGKILL)
        await completion.close()
        return parts

    def whole(pieces: list[Piece]) -> tuple[str, list[float]]:
        scored = [piece.logprobs["token_logprobs"] for piece in pieces if piece.logprobs]
        return "".join(piece.text for piece in pieces), list(itertools.chain(*scored))

    found = whole(loop.run(killed()))
    assert found == whole(loop.run(pieces_of(router, asked)))
    assert len(found[1]) == 6000
    loop.run(until(lambda: all(worker.ready for worker in process_workers(router))))


def test_a_user_keeps_to_one_version_and_the_shares_are_kept() -> None:
    routes = [Route(target) for target in targets({"Staging": 20, "Production": 80}, "Production", "tiny")]
    assert [route.target.label for route in routes] == ["Production", "Staging"]
    users = [f"user-{number}" for number in range(2000)]
    first = [choose(routes, user).target.label for user in users]
    assert first == [choose(routes, user).target.label for user in users]
    assert 0.16 < Counter(first)["Staging"] / len(users) < 0.24
    assert 0.12 < sum(choose(routes, "").target.label == "Staging" for _ in range(2000)) / 2000 < 0.28


@pytest.mark.parametrize("label", ["production", "version:x", "None", "@Production", ""])
def test_a_split_over_what_cannot_be_served_is_refused(label: str) -> None:
    with pytest.raises(UserError, match="is not a valid target"):
        Target.parse(label, 1, "tiny")


def test_a_split_may_name_versions_and_other_models() -> None:
    assert Target.parse("version:7", 1, "tiny").number == 7
    assert Target.parse("other@Staging", 1, "tiny") == Target("other@Staging", "other", 1, "Staging")


def test_a_shadow_writes_copies_and_changes_nothing_for_readers(loop: Loop, model: Path, other_model: Path) -> None:
    async def with_shadow() -> tuple[str, str, WorkerRouter]:
        router = WorkerRouter(max_tokens=100)
        main = versions(router, loop.http, Target("Production", "tiny", 1, "Production"), 1, slots=2)
        shadow = versions(router, loop.http, Target("Staging", "tiny", 0, "Staging"), 1, slots=2)
        try:
            await asyncio.gather(main.use(of(model, 1)), shadow.use(of(other_model, 2)))
            without = await text_of(router, order(seed=4))
            router.shadow = Shadow(shadow.route, 100, router.metrics)
            text = await text_of(router, order(seed=4))
            await until(lambda: b'textmill_shadow_total{outcome="different"} 1.0' in router.metrics.render())
            return without, text, router
        finally:
            await router.close()

    without, text, router = loop.run(with_shadow())
    assert without == text
    assert b"textmill_shadow_tokens_total 20.0" in router.metrics.render()
    assert [served.identity.version for served in router.models()] == [1]


def test_a_deployment_without_workers_turns_away_those_who_wait(loop: Loop, model: Path) -> None:
    async def wait() -> None:
        router = WorkerRouter(100)
        route = Route(Target("Production", "tiny", 1, "Production"))
        route.deployment = Deployment(of(model), 1)
        router.routes.append(route)
        router.deployments.append(route.deployment)
        assert route.deployment.served.identity == ModelIdentity(
            name="tiny", version=None, stage=None, checksum=of(model).identity.checksum
        )
        waiting = asyncio.create_task(text_of(router, order()))
        await asyncio.sleep(0.05)
        await router.close()
        with pytest.raises(Exception, match="No worker of this version is left"):
            await waiting

    loop.run(wait())
