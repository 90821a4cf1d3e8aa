"""`textmill run` with `train.backend: jax`, on two devices, to a registered version; as a user types it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from projects import Project, project

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def on_jax(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mlflow_uri: str, millpond: ModuleType
) -> Iterator[Project]:
    """A project that has been crawled and run once, on two logical CPU devices."""
    with project("on-jax", tmp_path_factory.mktemp("jax"), 60, mongodb_uri, mlflow_uri, millpond) as made:
        file = made.folder / "textmill.yaml"
        settings = file.read_text("utf-8").replace("train:\n", "train:\n  backend: jax\n  devices: 2\n")
        file.write_text(settings, "utf-8")
        devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        with_devices = replace(made, environment=made.environment | devices)
        with_devices.type("crawl")
        with_devices.printed["run"] = with_devices.type("run")
        yield with_devices


def test_a_run_on_jax_registers_a_blessed_version(on_jax: Project, tmp_path: Path) -> None:
    assert "✓ FineTune" in on_jax.printed["run"]
    version = on_jax.registry.version(1)
    assert version.stage == "Staging"
    bundle = on_jax.registry.download(version, tmp_path)
    trained_with = json.loads((bundle / "lineage.json").read_text("utf-8"))["settings"]["train"]
    assert (trained_with["backend"], trained_with["devices"]) == ("jax", 2)
