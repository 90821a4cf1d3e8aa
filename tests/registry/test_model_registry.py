"""The registry against a real MLflow server: register, promote, refuse, roll back, download."""

import getpass
import json
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from empty_versions import assert_agreement, mlflow, register_empty
from judged_models import LINEAGE, register_judged
from mlflow_recording import recorded

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import train_bpe
from textmill.ground.errors import UserError
from textmill.registry import promotion_log
from textmill.registry.bundle_cache import prune
from textmill.registry.model_registry import ModelRegistry
from textmill.registry.promotion_log import Move

ROUNDS = 12
PROMOTER = """
import sys
from textmill.registry.promotion_log import Move
from textmill.registry.model_registry import ModelRegistry
uri, name, number = sys.argv[1:]
registry = ModelRegistry(uri, name)
for line in sys.stdin:
    registry.promote(int(number), line.strip(), "None" if int(line) % 3 == 2 else "Production")
    print(line.strip(), flush=True)
"""


def _register(
    registry: ModelRegistry, folder: Path, seed: int, outcome: str = "blessed", promote: str = "by-reviewer"
) -> int:
    """Register a small random model as a pipeline run would, and return its version."""
    tokenizer = train_bpe(["the wheel turns"], 257)
    architecture = Architecture(tokenizer.vocabulary, 16, 1, 2, 8)
    model = folder / f"{seed}-model"
    bundle.write_bundle(model, weights.initial(architecture, seed), architecture, tokenizer, {}, LINEAGE, "# A card\n")
    return register_judged(registry, model, folder / f"{seed}-logs", outcome, promote)


@pytest.fixture
def registry(mlflow_uri: str, request: pytest.FixtureRequest) -> ModelRegistry:
    return ModelRegistry(mlflow_uri, f"{request.node.name[:50]}-{uuid.uuid4().hex[:8]}")


def test_a_blessed_version_goes_by_staging_to_production_and_back(registry: ModelRegistry, tmp_path: Path) -> None:
    first = _register(registry, tmp_path, 1)
    assert registry.resolve("Staging").number == first  # type: ignore[union-attr]
    found = registry.server.call("GET", "registered-models/get", {"name": registry.name})["registered_model"]
    assert "textmill promote" in found["description"]
    registry.promote(first, "it reads well")
    second = _register(registry, tmp_path, 2)
    registry.promote(second, "it reads better")
    assert {v.number: v.stage for v in registry.versions()} == {first: "Archived", second: "Production"}
    registry.rollback("it does not, after all")
    assert {v.number: v.stage for v in registry.versions()} == {first: "Production", second: "Archived"}
    assert [(move.version, move.former, move.stage) for move in registry.history()] == [
        (first, "None", "Staging"),
        (first, "Staging", "Production"),
        (second, "None", "Staging"),
        (second, "Staging", "Production"),
        (first, "Production", "Archived"),
        (first, "Archived", "Production"),
        (second, "Production", "Archived"),
    ]
    promotion, displacement, rollback = registry.history()[3:6]
    assert (promotion.who, promotion.figures["bits_per_byte"]) == (getpass.getuser(), "2.0000")
    assert displacement.why == f"version {second} came to Production"
    assert (rollback.why, rollback.undoes) == ("it does not, after all", second)


def test_every_move_writes_stage_alias_and_tag(registry: ModelRegistry) -> None:
    first, second = register_empty(registry, 2)
    for number, stage in (
        (first, "Staging"),
        (first, "Production"),
        (second, "Production"),
        (second, "None"),
        (first, "Staging"),
    ):
        registry.promote(number, "a reason", stage)
        assert_agreement(registry)
    registry.archive(first, "done with")
    assert_agreement(registry)
    assert registry.standing().aliases == {"archived": first}


def test_two_processes_that_promote_at_once_leave_one_version_in_production_and_both_in_the_log(
    registry: ModelRegistry,
) -> None:
    numbers = register_empty(registry, 2)
    promoters = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTER, registry.tracking_uri, registry.name, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in numbers
    ]
    try:
        for turn in range(ROUNDS):
            for promoter in promoters:
                print(turn, file=promoter.stdin, flush=True)
            for promoter in promoters:
                assert promoter.stdout
                assert promoter.stdout.readline().strip() == str(turn)
            assert (registry.resolve("Production") is None) == (turn % 3 == 2)
            assert_agreement(registry)
    finally:
        for promoter in promoters:
            promoter.communicate(timeout=60)
    commanded = [(move.version, move.why) for move in registry.history() if not move.observed]
    assert sorted(commanded) == sorted((number, str(turn)) for number in numbers for turn in range(ROUNDS))


def test_mlflow_is_never_asked_to_archive_the_others(registry: ModelRegistry) -> None:
    """On PostgreSQL with psycopg 3 it cannot (mlflow#24592)."""
    with recorded(registry.tracking_uri) as (uri, asked):
        through = ModelRegistry(uri, registry.name)
        for number in register_empty(through, 2):
            for stage in ("Staging", "Production"):
                through.promote(number, "better", stage)
        through.rollback("worse")
        through.archive(1, "done with")
    moves = [json.loads(each.body) for each in asked if each.path.endswith("transition-stage")]
    assert [(int(move["version"]), move["stage"]) for move in moves] == [
        *((1, "Staging"), (1, "Production")),
        *((2, "Staging"), (2, "Production"), (1, "Archived")),
        *((1, "Production"), (2, "Archived"), (1, "Archived")),
    ]
    assert not any(move["archive_existing_versions"] for move in moves)
    assert_agreement(registry)


def test_a_stage_that_two_moves_at_once_have_emptied_is_filled_again(registry: ModelRegistry) -> None:
    first, second = register_empty(registry, 2)
    for number in (first, second):
        registry.promote(number, "better")
    # another process moves the first again, sees the second beside it, and archives it late
    values = {"name": registry.name, "version": str(second), "stage": "Archived"}
    mlflow(registry, "POST", "model-versions/transition-stage", archive_existing_versions=False, **values)
    registry.settle({"Production", "Archived"}, commanded="Production")
    assert registry.resolve("Production").number == second  # type: ignore[union-attr]
    assert_agreement(registry)


def test_a_stage_that_a_version_has_left_for_another_is_not_filled_again(registry: ModelRegistry) -> None:
    first, second = register_empty(registry, 2)
    for number in (first, second):
        registry.promote(number, "better", "Staging")
    # another process promotes the second, before the move to Staging has logged that the first has left it
    key = next(move.key for move in reversed(registry.history()) if (move.version, move.stage) == (first, "Archived"))
    for path, values in (
        ("model-versions/delete-tag", {"key": key}),
        ("model-versions/transition-stage", {"stage": "Production", "archive_existing_versions": False}),
    ):
        number = first if "key" in values else second
        method = "DELETE" if "key" in values else "POST"
        mlflow(registry, method, path, name=registry.name, version=str(number), **values)
    registry.settle({"Staging", "Archived"}, "Staging", second)
    assert registry.resolve("Staging") is None
    assert registry.version(first).stage == "Archived"


def test_rolling_back_again_goes_further_back(registry: ModelRegistry) -> None:
    for number in register_empty(registry, 4):
        registry.promote(number, "better")
    assert [registry.rollback("worse").version for _ in range(2)] == [3, 2]
    registry.promote(4, "better after all")
    assert registry.rollback("worse").version == 2  # 3 was taken back, and nobody put it there again
    assert registry.rollback("worse").version == 1
    with pytest.raises(UserError, match="no former Production version to go back to: version 1 is the first"):
        registry.rollback("worse")
    assert_agreement(registry)


def test_an_empty_production_is_filled_with_the_version_that_was_there_last(registry: ModelRegistry) -> None:
    for number in register_empty(registry, 2):
        registry.promote(number, "better")
    registry.archive(2, "away with it")
    assert registry.resolve("Production") is None
    assert registry.rollback("we need one").version == 2


def test_an_entry_of_the_log_is_never_written_over(registry: ModelRegistry) -> None:
    (number,) = register_empty(registry, 1)
    seen: dict[str, str] = {}
    for stage in ("Staging", "Production", "Staging", "Archived", "None"):
        registry.promote(number, stage, stage)
        tags = registry.version(number).tags
        assert seen.items() <= tags.items()
        seen = {key: value for key, value in tags.items() if key.startswith("move.")}
    assert len(seen) == 5


def test_two_moves_in_one_microsecond_are_two_entries() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    moves = [promotion_log.dated(Move(1, "", who, "None", "Staging", "why"), [], moment) for who in ("ann", "bob")]
    tags = {move.key: promotion_log.written(move) for move in moves}
    assert {move.who for move in promotion_log.read({1: tags})} == {"ann", "bob"}


def test_a_clock_that_is_behind_does_not_reorder_the_log() -> None:
    first = promotion_log.dated(Move(1, "", "ann", "None", "Staging", ""), [])
    second = promotion_log.dated(Move(2, "", "bob", "None", "Staging", ""), [first], datetime(2020, 1, 1, tzinfo=UTC))
    assert second.time > first.time


def test_a_move_that_two_observers_wrote_down_is_one() -> None:
    observed = [promotion_log.dated(Move(1, "", who, "None", "Staging", "", observed=True), []) for who in ("a", "b")]
    tags = {move.key: promotion_log.written(move) for move in observed}
    assert len(promotion_log.read({1: tags})) == 1
    done = promotion_log.dated(Move(1, "", "ann", "None", "Staging", ""), observed)
    tags[done.key] = promotion_log.written(done)
    assert [move.who for move in promotion_log.read({1: tags})] == ["ann"]  # it was under way when they looked


def test_a_tag_made_by_hand_does_not_break_the_log() -> None:
    assert promotion_log.read({1: {"move.mine": "hello", "move.2026-01-01T00:00:00.000000Z": "[]"}}) == []


def test_a_reason_too_long_for_the_log_moves_nothing(registry: ModelRegistry) -> None:
    (number,) = register_empty(registry, 1)
    with pytest.raises(UserError, match="6000 characters"):
        registry.promote(number, "x" * 6000)
    assert registry.version(number).stage == "None"


def test_mlflow_still_has_its_stages(registry: ModelRegistry) -> None:
    """If this fails after an update, MLflow has dropped model stages: stay on the former release.

    What Textmill then needs is in one place, ModelRegistry._transition; the stage tag and the aliases hold the same.
    """
    (number,) = register_empty(registry, 1)
    registry.promote(number, "to see", "Staging")
    assert registry.version(number).stage == "Staging", "MLflow takes the call and moves no stage"


def test_an_mlflow_without_stages_is_named() -> None:
    class Stageless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            entry = {"name": "any", "version": "1", "creation_timestamp": 0}
            self._answer(200, {"model_versions": [entry]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(404, {"error_code": "ENDPOINT_NOT_FOUND"})

        def _answer(self, status: int, body: dict[str, object]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Stageless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match="no longer has stages"):
            ModelRegistry(f"http://127.0.0.1:{server.server_port}", "any").promote(1, "why")
        server.shutdown()


def test_a_refused_version_is_promoted_only_by_force(registry: ModelRegistry, tmp_path: Path) -> None:
    number = _register(registry, tmp_path, 1, outcome="refused")
    assert registry.version(number).stage == "None"
    with pytest.raises(UserError, match="was refused: a reason; to promote it anyway, add --force"):
        registry.promote(number, "I like it")
    registry.promote(number, "I like it", force=True)
    assert registry.resolve("Production").number == number  # type: ignore[union-attr]


def test_an_undecided_version_is_in_no_stage_and_promoted_with_a_reason(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    number = _register(registry, tmp_path, 1, outcome="undecided")
    version = registry.version(number)
    assert (version.stage, version.undecided, version.refused) == ("None", "a reason", None)
    with pytest.raises(UserError, match="is undecided: a reason; promote it with a reason: --why"):
        registry.promote(number, "")
    registry.promote(number, "it reads better")
    assert registry.resolve("Production").number == number  # type: ignore[union-attr]
    assert registry.history()[-1].doubt == "undecided: a reason"


def test_a_verdict_that_changes_replaces_the_former(registry: ModelRegistry, tmp_path: Path) -> None:
    number = _register(registry, tmp_path / "first", 1, outcome="refused")
    assert _register(registry, tmp_path / "second", 1, outcome="undecided") == number
    version = registry.version(number)
    assert (version.refused, version.undecided) == (None, "a reason")


def test_if_better_promotes_at_once(registry: ModelRegistry, tmp_path: Path) -> None:
    number = _register(registry, tmp_path, 1, promote="if-better")
    assert registry.resolve("Production").number == number  # type: ignore[union-attr]


def test_the_same_model_is_registered_once(registry: ModelRegistry, tmp_path: Path) -> None:
    first = _register(registry, tmp_path / "a", 1)
    assert _register(registry, tmp_path / "b", 1) == first
    assert len(registry.versions()) == 1


def test_an_interrupted_registration_is_finished(registry: ModelRegistry, tmp_path: Path) -> None:
    number = _register(registry, tmp_path / "refused", 1, outcome="refused")  # as one killed before its first move
    assert _register(registry, tmp_path / "blessed", 1) == number
    assert registry.version(number).stage == "Staging"
    assert registry.version(number).refused is None


def test_a_downloaded_bundle_is_the_registered_one(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.version(_register(registry, tmp_path, 1))
    directory = registry.download(version, tmp_path / "models")
    assert bundle.verify(directory) == version.checksum
    assert (directory / "README.md").read_text(encoding="utf-8") == "# A card\n"
    assert prune(tmp_path / "models", keep=0) == []  # it is in use
    (directory / "model.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        registry.download(version, tmp_path / "models")


def test_nothing_to_roll_back_to_is_said(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.promote(_register(registry, tmp_path, 1), "first")
    with pytest.raises(UserError, match="no former Production version"):
        registry.rollback("why not")


def test_an_unregistered_name_has_noregister_empty(registry: ModelRegistry) -> None:
    assert registry.versions() == []
    assert registry.resolve("Production") is None
    with pytest.raises(UserError, match="has no version 3"):
        registry.version(3)


def test_a_server_that_does_not_answer_is_named() -> None:
    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer"):
        ModelRegistry("http://127.0.0.1:9", "any").check()
