"""The graph compiles to what open-source Kubeflow Pipelines 2 reads."""

import importlib
from typing import Any

import pytest
import yaml

from pipeline import kubeflow
from pipeline.graph import STEPS, Resolved
from textmill.settings import Config, Source


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("kubeflow") / "textmill.yaml"
    config = Config(name="handbook", sources=[Source(name="handbook", start="https://handbook.example/")])
    resolved = Resolved(3, "ab" * 32, 2, "cd" * 32, "http://mlflow#1", "0123")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTMILL_MONGODB_URI", "mongodb://reader:secret@mongo.example/")
        patch.setenv("MLFLOW_TRACKING_URI", "http://writer:secret@mlflow.example/")
        kubeflow.compile_pipeline(config, resolved, "textmill/train:1", "minio://mlpipeline/textmill", file)
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))


def test_the_schema_is_the_one_that_kubeflow_reads(compiled: dict[str, Any]) -> None:
    assert compiled["schemaVersion"] == "2.1.0"


def test_every_step_runs_in_the_image_after_the_steps_it_reads_from(compiled: dict[str, Any]) -> None:
    tasks = compiled["root"]["dag"]["tasks"]
    assert set(tasks) == set(STEPS)
    assert set(tasks["FineTune"]["dependentTasks"]) == {"ExportArticles", "Preprocess"}
    assert set(tasks["Register"]["dependentTasks"]) == {"Evaluate", "FineTune"}
    executors = compiled["deploymentSpec"]["executors"]
    assert {executor["container"]["image"] for executor in executors.values()} == {"textmill/train:1"}


def test_every_executor_can_be_imported(compiled: dict[str, Any]) -> None:
    paths = [
        argument
        for executor in compiled["deploymentSpec"]["executors"].values()
        for argument in executor["container"]["args"]
        if argument.startswith("components.")
    ]
    assert len(paths) == len(STEPS)
    for path in paths:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_no_address_or_secret_is_among_the_parameters(compiled: dict[str, Any]) -> None:
    text = yaml.safe_dump(compiled)
    assert "mongodb://" not in text
    assert "secret" not in text
