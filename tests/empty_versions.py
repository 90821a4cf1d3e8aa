"""Registered versions, for tests of moves, mostly without files; and what must hold after every move."""

from pathlib import Path
from typing import Any

import requests

from textmill.gpt2.formats import bundle
from textmill.registry.model_registry import ModelRegistry


def mlflow(registry: ModelRegistry, method: str, path: str, **values: Any) -> dict[str, Any]:
    """Call MLflow as its own page does, past Textmill."""
    answer = requests.request(method, f"{registry.tracking_uri}/api/2.0/mlflow/{path}", json=values, timeout=60)
    answer.raise_for_status()
    return dict(answer.json())


def register_empty(registry: ModelRegistry, count: int, tags: dict[str, str] | None = None) -> list[int]:
    """Register so many versions without files, and return their numbers."""
    run = mlflow(registry, "POST", "runs/create", experiment_id="0")["run"]["info"]
    return [registry.register(run["artifact_uri"], run["run_id"], "", tags or {}).number for _ in range(count)]


def register_bundle(registry: ModelRegistry, directory: Path, tags: dict[str, str] | None = None) -> int:
    """Upload a bundle, make it the model's next version, and return its number; it is in no stage yet."""
    run = mlflow(registry, "POST", "runs/create", experiment_id="0")["run"]["info"]
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    for file in filter(Path.is_file, directory.rglob("*")):
        path = f"mlflow-artifacts/artifacts/{root}/artifacts/bundle/{file.relative_to(directory)}"
        answer = requests.put(f"{registry.tracking_uri}/api/2.0/{path}", data=file.read_bytes(), timeout=60)
        answer.raise_for_status()
    checksum = bundle.read_json(directory, bundle.MANIFEST)["checksum"]
    return registry.register(run["artifact_uri"], run["run_id"], "", {"checksum": checksum} | (tags or {})).number


def assert_agreement(registry: ModelRegistry) -> None:
    """Stage, alias, tag and log say the same of every version, and one version at most is in a stage for one."""
    standing = registry.standing()
    for version in standing.versions:
        assert version.stage == version.tags.get("stage", "None") == standing.logged(version.number), version
    for stage in ("Staging", "Production"):
        held = [version.number for version in standing.versions if version.stage == stage]
        assert len(held) <= 1
        assert held == ([standing.aliases[stage.lower()]] if stage.lower() in standing.aliases else [])
