"""The registry against a real MLflow server: register, promote, refuse, roll back, download."""

import json
from pathlib import Path

import pytest

from textmill import tracking
from textmill.errors import UserError
from textmill.gpt2 import bundle, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import train_bpe
from textmill.registry import ModelRegistry

LINEAGE = {
    "code": "0123",
    "settings": {"train": {"steps": 3}},
    "corpus": {"snapshot": 1, "digest": "ab" * 32, "time": "2026-01-01T00:00:00+00:00", "sources": {"mill": 12}},
}


def _register(
    registry: ModelRegistry, folder: Path, seed: int, blessed: bool = True, promote: str = "by-reviewer"
) -> int:
    """Register a small random model as a pipeline run would, and return its version."""
    tokenizer = train_bpe(["the wheel turns"], 257)
    architecture = Architecture(tokenizer.vocabulary, 16, 1, 2, 8)
    model, logs, evaluation = (folder / f"{seed}-{name}" for name in ("model", "logs", "evaluation"))
    bundle.write_bundle(model, weights.initial(architecture, seed), architecture, tokenizer, {}, LINEAGE, "# A card\n")
    logs.mkdir(parents=True)
    (logs / "history.json").write_text(json.dumps([{"step": 1, "loss": 5.0}]), encoding="utf-8")
    (logs / "samples.txt").write_text("The wheel turns.\n", encoding="utf-8")
    evaluation.mkdir()
    figures = {"bits_per_byte": 2.0, "perplexity": 9.0, "reference_bits_per_byte": 4.0, "reference_perplexity": 99.0}
    verdict = {
        "blessed": blessed,
        "reasons": ["a reason"],
        "reference": "none",
        "metrics": figures,
        "samples": ["Ein Rad"],
    }
    (evaluation / tracking.EVALUATION_FILE).write_text(json.dumps(verdict), encoding="utf-8")
    return tracking.register(registry, model, logs, evaluation, blessed, promote, "a test").version


@pytest.fixture
def registry(mlflow_uri: str, request: pytest.FixtureRequest) -> ModelRegistry:
    return ModelRegistry(mlflow_uri, request.node.name.replace("_", "-"))


def test_a_blessed_version_goes_by_staging_to_production_and_back(registry: ModelRegistry, tmp_path: Path) -> None:
    first = _register(registry, tmp_path, 1)
    assert registry.resolve("Staging").number == first  # type: ignore[union-attr]
    registry.promote(first, "it reads well")
    second = _register(registry, tmp_path, 2)
    registry.promote(second, "it reads better")
    assert {v.number: v.stage for v in registry.versions()} == {first: "Archived", second: "Production"}
    registry.rollback("it does not, after all")
    assert {v.number: v.stage for v in registry.versions()} == {first: "Production", second: "Archived"}
    log = [(move.version, move.former, move.stage, move.why) for move in registry.history()]
    assert log[-1] == (first, "Archived", "Production", "it does not, after all")
    assert [(version, stage) for version, _, stage, _ in log] == [
        (first, "Staging"),
        (first, "Production"),
        (second, "Staging"),
        (second, "Production"),
        (first, "Production"),
    ]


def test_every_move_writes_stage_alias_and_tag(registry: ModelRegistry, tmp_path: Path) -> None:
    number = _register(registry, tmp_path, 1)
    registry.promote(number, "good")
    model = registry._call("GET", "registered-models/get", {"name": registry.name})["registered_model"]
    assert model["aliases"] == [{"alias": "production", "version": str(number)}]
    assert registry.version(number).tags["stage"] == registry.version(number).stage == "Production"


def test_a_refused_version_is_promoted_only_by_force(registry: ModelRegistry, tmp_path: Path) -> None:
    number = _register(registry, tmp_path, 1, blessed=False)
    assert registry.version(number).stage == "None"
    with pytest.raises(UserError, match="was refused: a reason; promote it all the same with --force"):
        registry.promote(number, "I like it")
    registry.promote(number, "I like it", force=True)
    assert registry.resolve("Production").number == number  # type: ignore[union-attr]


def test_if_better_promotes_at_once(registry: ModelRegistry, tmp_path: Path) -> None:
    number = _register(registry, tmp_path, 1, promote="if-better")
    assert registry.resolve("Production").number == number  # type: ignore[union-attr]


def test_the_same_model_is_registered_once(registry: ModelRegistry, tmp_path: Path) -> None:
    first = _register(registry, tmp_path / "a", 1)
    assert _register(registry, tmp_path / "b", 1) == first
    assert len(registry.versions()) == 1


def test_an_interrupted_registration_is_finished(registry: ModelRegistry, tmp_path: Path) -> None:
    number = _register(registry, tmp_path / "refused", 1, blessed=False)  # as one killed before its first move
    assert _register(registry, tmp_path / "blessed", 1) == number
    assert registry.version(number).stage == "Staging"
    assert registry.version(number).refused is None


def test_a_downloaded_bundle_is_the_registered_one(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.version(_register(registry, tmp_path, 1))
    directory = registry.download(version, tmp_path / "models")
    assert bundle.verify(directory) == version.checksum
    assert (directory / "README.md").read_text(encoding="utf-8") == "# A card\n"
    (directory / "model.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        registry.download(version, tmp_path / "models")


def test_nothing_to_roll_back_to_is_said(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.promote(_register(registry, tmp_path, 1), "first")
    with pytest.raises(UserError, match="no former Production version"):
        registry.rollback("why not")


def test_an_unregistered_name_has_no_versions(registry: ModelRegistry) -> None:
    assert registry.versions() == []
    assert registry.resolve("Production") is None
    with pytest.raises(UserError, match="has no version 3"):
        registry.version(3)


def test_a_server_that_does_not_answer_is_named() -> None:
    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer"):
        ModelRegistry("http://127.0.0.1:9", "any").check()
