"""Moves made in MLflow's own page, in its old mode (stages) and in its new one (aliases), are mirrored."""

import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest
from empty_versions import assert_agreement, mlflow, register_empty
from mlflow_recording import Asked, recorded

from textmill.local_servers.stage_mirror import EVERY_S
from textmill.registry.model_registry import ModelRegistry
from textmill.registry.reconciler import _GRACE_S, WHO, WHY, Reconciler

NOTICED_WITHIN_S = 15
PATIENCE_S = 120  # for a machine that has much else to do
PROMOTER = """
import sys
from textmill.registry.model_registry import ModelRegistry
uri, name, number = sys.argv[1:]
ModelRegistry(uri, name).promote(int(number), "better")
"""


@pytest.fixture
def registry(mlflow_uri: str) -> ModelRegistry:
    """A model whose version 1 is in Production and whose version 2 is in Staging; there is a third."""
    registry = ModelRegistry(mlflow_uri, f"mirrored-{uuid.uuid4().hex[:8]}")
    register_empty(registry, 3)
    registry.promote(1, "first")
    registry.promote(2, "next", "Staging")
    return registry


@pytest.fixture
def reconciler(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> Reconciler:
    monkeypatch.setattr("textmill.registry.reconciler._GRACE_S", 0.05)
    return Reconciler(registry)


def _move_stage(registry: ModelRegistry, number: int, stage: str, archive: bool) -> None:
    values = {"name": registry.name, "version": str(number), "stage": stage, "archive_existing_versions": archive}
    mlflow(registry, "POST", "model-versions/transition-stage", **values)


def _set_alias(registry: ModelRegistry, alias: str, number: int) -> None:
    mlflow(registry, "POST", "registered-models/alias", name=registry.name, alias=alias, version=str(number))


def _remove_alias(registry: ModelRegistry, alias: str) -> None:
    mlflow(registry, "DELETE", "registered-models/alias", name=registry.name, alias=alias)


def _stages(registry: ModelRegistry) -> dict[int, str]:
    return {version.number: version.stage for version in registry.versions()}


def _kill_after_the_stage(registry: ModelRegistry, number: int) -> None:
    """Promote a version in a process that is killed when MLflow has moved its stage, and has done nothing else."""
    started: list[subprocess.Popen[bytes]] = []

    def kill(asked: Asked) -> None:
        if asked.path.endswith("transition-stage"):
            started[0].kill()
            started[0].wait()

    with recorded(registry.tracking_uri, kill) as (uri, asked):
        started.append(subprocess.Popen([sys.executable, "-c", PROMOTER, uri, registry.name, str(number)]))
        assert started[0].wait(PATIENCE_S) == -signal.SIGKILL
    assert [each.path.rpartition("/")[2] for each in asked if each.method == "POST"] == ["transition-stage"]


def test_a_promotion_that_was_killed_counts_and_is_finished(registry: ModelRegistry, reconciler: Reconciler) -> None:
    _kill_after_the_stage(registry, 3)
    assert _stages(registry) == {1: "Production", 2: "Staging", 3: "Production"}
    assert registry.resolve("Production").number == 3  # type: ignore[union-attr]
    reconciler.once()
    assert _stages(registry) == {1: "Archived", 2: "Staging", 3: "Production"}
    assert_agreement(registry)


def test_a_promotion_after_a_killed_one_archives_all_before_it(registry: ModelRegistry, reconciler: Reconciler) -> None:
    _kill_after_the_stage(registry, 3)
    registry.promote(2, "better")
    assert _stages(registry) == {1: "Archived", 2: "Production", 3: "Archived"}
    reconciler.once()
    assert_agreement(registry)


def test_nothing_moved_is_nothing_done(registry: ModelRegistry, reconciler: Reconciler) -> None:
    before = registry.standing()
    assert reconciler.once() == []
    assert registry.standing() == before


@pytest.mark.parametrize("archive", [True, False], ids=["existing archived", "existing left"])
def test_alias_tag_and_log_follow_a_stage(registry: ModelRegistry, reconciler: Reconciler, archive: bool) -> None:
    _move_stage(registry, 2, "Production", archive)
    moves = reconciler.once()
    assert [(move.version, move.former, move.stage, move.who, move.why) for move in moves] == [
        (2, "Staging", "Production", WHO, WHY)
    ]
    assert _stages(registry) == {1: "Archived", 2: "Production", 3: "None"}
    assert registry.standing().aliases == {"production": 2, "archived": 1}
    assert_agreement(registry)
    assert reconciler.once() == []
    assert registry.rollback("no good").version == 1


@pytest.mark.parametrize("former", ["kept", "removed"])
def test_stage_tag_and_log_follow_an_alias(registry: ModelRegistry, reconciler: Reconciler, former: str) -> None:
    _set_alias(registry, "production", 2)
    if former == "removed":
        _remove_alias(registry, "staging")
    moves = reconciler.once()
    assert [(move.version, move.former, move.stage, move.who) for move in moves] == [(2, "Staging", "Production", WHO)]
    assert _stages(registry) == {1: "Archived", 2: "Production", 3: "None"}
    assert registry.standing().aliases == {"production": 2, "archived": 1}
    assert_agreement(registry)


@pytest.mark.parametrize("how", ["stage", "alias given", "alias removed"])
def test_a_version_refused_in_the_page_leaves_staging(
    registry: ModelRegistry, reconciler: Reconciler, how: str
) -> None:
    if how == "stage":
        _move_stage(registry, 2, "Archived", False)
    elif how == "alias given":
        _set_alias(registry, "archived", 2)
    else:
        _remove_alias(registry, "staging")
    assert [(move.version, move.former, move.stage) for move in reconciler.once()] == [(2, "Staging", "Archived")]
    assert _stages(registry) == {1: "Production", 2: "Archived", 3: "None"}
    assert registry.standing().aliases == {"production": 1, "archived": 2}
    assert_agreement(registry)


def test_where_both_were_moved_the_stage_decides(registry: ModelRegistry, reconciler: Reconciler) -> None:
    _move_stage(registry, 2, "Production", True)
    _set_alias(registry, "production", 3)
    reconciler.once()
    assert _stages(registry) == {1: "Archived", 2: "Production", 3: "None"}
    assert_agreement(registry)


def test_a_tag_changed_by_hand_is_put_right(registry: ModelRegistry, reconciler: Reconciler) -> None:
    values = {"name": registry.name, "version": "3", "key": "stage", "value": "Production"}
    mlflow(registry, "POST", "model-versions/set-tag", **values)
    assert reconciler.once() == []
    assert _stages(registry)[1] == "Production"
    assert_agreement(registry)


def test_a_refused_version_promoted_in_the_page_is_logged_as_refused(
    registry: ModelRegistry, reconciler: Reconciler
) -> None:
    (number,) = register_empty(registry, 1, {"refused": "it copies"})
    _move_stage(registry, number, "Production", True)
    reconciler.once()
    assert registry.resolve("Production").number == number  # type: ignore[union-attr]
    entry = next(move for move in registry.history() if move.version == number)
    assert (entry.refused, entry.who) == ("it copies", WHO)


def test_two_reconcilers_write_one_move_once(registry: ModelRegistry, reconciler: Reconciler) -> None:
    _set_alias(registry, "production", 2)
    threads = [threading.Thread(target=each.once) for each in (reconciler, Reconciler(registry))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reconciler.once()
    assert [move.stage for move in registry.history() if move.version == 2] == ["Staging", "Production"]
    assert_agreement(registry)


def test_a_move_of_ours_is_never_taken_for_the_pages(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textmill.registry.reconciler._GRACE_S", 5.0)  # a busy machine may take a second for a move
    stop = threading.Event()
    thread = threading.Thread(target=Reconciler(registry).run, args=(0.01, stop))
    thread.start()
    for number in (2, 3, 1, 2):
        registry.promote(number, "by hand")
    stop.set()
    thread.join()
    assert WHO not in {move.who for move in registry.history()}
    assert _stages(registry)[2] == "Production"
    assert_agreement(registry)


def test_a_running_reconciler_notices_within_fifteen_seconds_and_outlives_a_server_that_is_away(
    registry: ModelRegistry,
) -> None:
    assert EVERY_S + _GRACE_S < NOTICED_WITHIN_S / 2  # what it waits for; the rest is for MLflow to answer in
    seen, stop = threading.Event(), threading.Event()
    running = Reconciler(registry, observe=lambda move: seen.set())
    address, running._registry.server._base = running._registry.server._base, "http://127.0.0.1:9"
    thread = threading.Thread(target=running.run, args=(0.5, stop))
    thread.start()
    while not running.trouble:
        time.sleep(0.01)
    assert "does not answer" in running.trouble
    running._registry.server._base = address
    _move_stage(registry, 2, "Production", True)
    assert seen.wait(PATIENCE_S)
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
