"""The graph compiles to what open-source Kubeflow Pipelines 2 reads."""

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from empty_versions import register_bundle
from google.protobuf import json_format
from kfp.client.client import _extract_pipeline_yaml
from kfp.pipeline_spec import pipeline_spec_pb2
from parrots import write_parrot

from pipeline import entrypoint, kubeflow
from pipeline.beam_package import package
from pipeline.graph import STEPS, Resolved
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import characters
from textmill.ground.errors import UserError
from textmill.registry.model_registry import ModelRegistry
from textmill.settings.config import Config
from textmill.settings.model import Model
from textmill.settings.pipeline import Beam, Kubeflow
from textmill.settings.sites import Source
from textmill.settings.training import Train
from textmill.training.bases import resolving
from textmill.training.bases.base import SCRATCH, Base

IMAGE = "registry.example/textmill@sha256:" + "ab" * 32
NODES: dict[str, Any] = {
    "node_selector": {"pool": "models"},
    "train_node_selector": {"card": "h100"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
    "train_tolerations": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
    "image_pull_secrets": ["registry"],
    "retries": 5,
}
SITE = Source(name="handbook", start="https://handbook.example/")


def _compiled(file: Path, config: Config, base: Base = SCRATCH) -> tuple[dict[str, Any], dict[str, Any]]:
    resolved = Resolved(3, "ab" * 32, 2, "cd" * 32, "http://mlflow#1", base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTMILL_MONGODB_URI", "mongodb://reader:secret-word@mongo.example/")
        patch.setenv("MLFLOW_TRACKING_URI", "http://writer:secret-word@mlflow.example/")
        kubeflow.compile_pipeline(config, resolved, file)
    specification, platform = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    return specification, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubeflow") / "textmill.yaml"


@pytest.fixture(scope="module")
def documents(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    config = Config(
        name="hand_book",
        data_dir=Path("/home/me/.textmill"),
        sources=[SITE],
        beam=Beam(options=["--runner=DaskRunner", "--dask_client_address=tcp://dask:8786"]),
        train=Train(steps=70, backend="jax"),
        kubeflow=Kubeflow(image=IMAGE, gpus=2, memory="16Gi", secret="addresses", volume="kept", **NODES),
    )
    return _compiled(file, config)


@pytest.fixture(scope="module")
def compiled(documents: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


@pytest.fixture(scope="module")
def platform(documents: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return documents[1]


def _container(compiled: dict[str, Any], step: str) -> dict[str, Any]:
    label = compiled["components"][step]["executorLabel"]
    return dict(compiled["deploymentSpec"]["executors"][label]["container"])


def test_the_schema_is_the_one_that_kubeflow_reads(compiled: dict[str, Any], file: Path) -> None:
    assert compiled["schemaVersion"] == "2.1.0"
    assert compiled["pipelineInfo"]["name"] == "hand-book"
    assert compiled["defaultPipelineRoot"].startswith("minio://")
    read = _extract_pipeline_yaml(str(file))  # by its client: every field is one of the schema's
    assert len(read.pipeline_spec.components) == len(STEPS)
    json_format.ParseDict(compiled["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())


def test_every_step_runs_in_the_image_after_the_steps_it_reads_from(compiled: dict[str, Any]) -> None:
    tasks = compiled["root"]["dag"]["tasks"]
    assert set(tasks) == set(STEPS)
    assert set(tasks["FineTune"]["dependentTasks"]) == {"ExportArticles", "Preprocess"}
    assert set(tasks["Register"]["dependentTasks"]) == {"Evaluate", "FineTune"}
    reused = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert reused == {*STEPS} - {"Register"}  # which asks MLflow in every run
    containers = [_container(compiled, step) for step in STEPS]
    assert {container["image"] for container in containers} == {IMAGE}
    assert {tuple(container["command"]) for container in containers} == {("python", "-m", "pipeline.entrypoint")}


def test_names_are_distinct_as_kfp_shortens_them(compiled: dict[str, Any]) -> None:
    assert len({name[:-5] for name in compiled["components"]}) == len(STEPS)


def test_every_executor_can_be_imported_and_its_component_found(compiled: dict[str, Any]) -> None:
    for step in STEPS:
        (path,) = (a for a in _container(compiled, step)["args"] if a.startswith("components."))
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path
        assert entrypoint._specification(path).OUTPUTS is not None


def test_what_people_change_are_parameters_with_defaults(compiled: dict[str, Any]) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    assert {name: each["defaultValue"] for name, each in parameters.items()} == {
        "steps": 70,
        "size": "custom",
        "sources": "",
        "stage": "Staging",
    }
    inputs = compiled["root"]["dag"]["tasks"]["FineTune"]["inputs"]["parameters"]
    assert inputs["steps"] == {"componentInputParameter": "steps"}
    snapshot = compiled["root"]["dag"]["tasks"]["ExportArticles"]["inputs"]["parameters"]["snapshot"]
    assert snapshot["runtimeValue"]["constant"] == 3


def test_beams_options_reach_the_steps_that_use_it(compiled: dict[str, Any]) -> None:
    for step in ("ExportArticles", "Preprocess"):
        assert {"--runner=DaskRunner", "--dask_client_address=tcp://dask:8786"} <= set(
            _container(compiled, step)["args"]
        )


def test_fine_tune_asks_for_what_it_needs(compiled: dict[str, Any]) -> None:
    container = _container(compiled, "FineTune")
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["KERAS_BACKEND"] == "jax"
    assert json.loads(environment["TEXTMILL_HOW"])["train"]["keep_checkpoints"] == 3
    assert container["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert container["resources"]["accelerator"]["resourceCount"] == "2"
    assert container["resources"]["memoryLimit"] == pytest.approx(17.18, abs=0.01)  # gigabytes, as kfp has it
    assert "resources" not in _container(compiled, "Evaluate")


def test_secrets_and_volumes_are_named_where_they_are_needed(platform: dict[str, Any]) -> None:
    def variables(step: str) -> set[str]:
        given = platform[f"{step}_executor"].get("secretAsEnv", [])
        assert all(each["secretName"] == "addresses" for each in given)
        return {key["envVar"] for each in given for key in each["keyToEnv"]}

    assert variables("ExportArticles") == {"TEXTMILL_MONGODB_URI"}
    assert all(variables(step) == {"MLFLOW_TRACKING_URI"} for step in ("FineTune", "Evaluate", "Register"))
    assert variables("Preprocess") == set()
    for step in ("Preprocess", "FineTune"):
        assert platform[f"{step}_executor"]["pvcMount"] == [{"constant": "kept", "mountPath": "/checkpoints"}]
    assert "pvcMount" not in platform["Evaluate_executor"]


def test_nodes_and_the_registrys_secret_are_named_for_every_step(platform: dict[str, Any]) -> None:
    assert len(platform) == len(STEPS)
    for label, given in platform.items():
        trains = label == "FineTune_executor"
        assert given["imagePullSecret"] == [{"secretName": "registry"}]
        assert given["nodeSelector"] == {"labels": {"pool": "models"} | ({"card": "h100"} if trains else {})}
        keys = [each["key"] for each in given["tolerations"]]
        assert keys == ["models", "nvidia.com/gpu"][: 1 + trains]
    assert platform["FineTune_executor"]["tolerations"] == [
        {"key": "models", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"},
    ]


def test_a_failed_step_is_started_again_however_long_it_took(compiled: dict[str, Any]) -> None:
    for task in compiled["root"]["dag"]["tasks"].values():
        policy = json_format.ParseDict(task, pipeline_spec_pb2.PipelineTaskSpec()).retry_policy
        assert (policy.max_retry_count, policy.backoff_duration.seconds, policy.backoff_factor) == (5, 60, 2.0)
        assert policy.backoff_max_duration.seconds > 7 * 24 * 3600  # Argo counts the attempts' own time


def test_caching_and_retries_can_be_turned_off(tmp_path: Path) -> None:
    config = Config(name="handbook", sources=[SITE], kubeflow=Kubeflow(image=IMAGE, cache=False, retries=0))
    compiled, platform = _compiled(tmp_path / "plain.yaml", config)
    for task in compiled["root"]["dag"]["tasks"].values():
        assert not task.get("cachingOptions", {}).get("enableCache")
        assert "retryPolicy" not in task
    assert not {"nodeSelector", "tolerations", "imagePullSecret"} & platform["FineTune_executor"].keys()


def test_names_stay_short_enough_for_what_kubernetes_is_given() -> None:
    names = [
        Config(name=name, sources=[SITE]).name for name in ("a" * 63, "a" * 62 + "b", "hand_book_", "0" + "-" * 62)
    ]
    given = [kubeflow.pipeline_name(Config(name=name, sources=[SITE])) for name in names]
    assert len(set(given)) == len(names)
    for name in given:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
        assert len(f"{name}-x7k2p") <= 63  # a run's workflow, whose name is a label
        assert len(f"{name}-x7k2p-system-container-impl-4294967295") <= 253  # its pods


def test_no_address_secret_or_folder_of_this_machine_is_in_the_file(file: Path, compiled: dict[str, Any]) -> None:
    text = file.read_text(encoding="utf-8")
    assert "/home/me" not in text
    assert "mongodb://" not in text
    assert "secret-word" not in text


def test_a_base_is_fetched_in_the_container_and_brings_its_size(tmp_path: Path) -> None:
    base = Base("version:7", "bundle", "ef" * 32, 7, "/home/somebody/models/7", Architecture(300, 64, 2, 2, 32))
    config = Config(name="handbook", sources=[SITE], kubeflow=Kubeflow(image=IMAGE))
    compiled, platform = _compiled(tmp_path / "base.yaml", config, base)
    assert "/home/somebody" not in json.dumps(compiled)
    assert "size" not in compiled["root"]["inputDefinitions"]["parameters"]
    names = {each["name"] for each in _container(compiled, "Preprocess")["env"]}
    assert names == {"TEXTMILL_HOW", "TEXTMILL_MODEL", "TEXTMILL_VOLUME"}
    assert platform["Evaluate_executor"]["pvcMount"]
    with pytest.raises(UserError, match=r"is the local folder /home/somebody/run1, which containers"):
        folder = Base("checkpoint/run1", "openai", "ef" * 32, 0, "/home/somebody/run1", base.architecture)
        _compiled(tmp_path / "folder.yaml", config, folder)


def test_an_image_without_a_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no digest"):
        Kubeflow(image="textmill/train:1")
    with pytest.raises(UserError, match=r"kubeflow\.image is not set"):
        _compiled(tmp_path / "none.yaml", Config(name="handbook", sources=[SITE]))


def test_a_container_fetches_the_base_that_the_pipeline_was_compiled_with(
    tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    registry = ModelRegistry(mlflow_uri, "fetched")
    letters = characters(["ab\n"])
    write_parrot(tmp_path / "parrot", Architecture(letters.vocabulary, 32, 1, 2, 32), letters, "a")
    number = register_bundle(registry, tmp_path / "parrot")
    config = Config(name="fetched", data_dir=tmp_path / "here", sources=[SITE], model=Model(base=f"version:{number}"))
    base = kubeflow._portable(resolving.resolve(config, registry))
    found = Base.from_json(entrypoint.fetched(base.to_json(), "fetched", tmp_path / "volume"))
    assert found.digest == base.digest
    assert Path(found.directory).is_relative_to(tmp_path / "volume")
    changed = replace(base, digest="00" * 32)
    with pytest.raises(UserError, match="has changed since the pipeline was compiled"):
        entrypoint.fetched(changed.to_json(), "fetched", tmp_path / "volume")


def test_what_a_step_does_not_declare_is_left_to_kubeflow(tmp_path: Path) -> None:
    specification = entrypoint._specification("components.preprocess.Preprocess_Executor")
    key = next(iter(specification.OUTPUTS))
    root = "minio://mlpipeline/v2/Preprocess/1"
    logs = {"name": "executor-logs", "type": {"schemaTitle": "system.Artifact"}, "uri": f"{root}/executor-logs"}
    output = {"artifacts": [{"uri": f"{root}/{key}", "artifactId": "7", "sentByALaterVersion": {"a": 1}}]}
    sent = {
        "outputs": {"artifacts": {key: output, "executor-logs": {"artifacts": [logs]}, "later": {}}},
        "sentByALaterVersion": [1],
    }
    got = entrypoint.localised(sent, specification, tmp_path)
    assert set(got["outputs"]["artifacts"]) == {key}
    assert got["inputs"]["artifacts"] == {}
    made = [each.name for each in (tmp_path / "minio/mlpipeline/v2/Preprocess/1").iterdir()]
    assert made == [key]  # the launcher has a file at executor-logs


def test_a_volume_that_cannot_be_written_is_named_before_the_work(tmp_path: Path) -> None:
    entrypoint.check_volume(tmp_path)
    with pytest.raises(UserError, match=r"The volume at \S+ cannot be written by user \d+ \(No such file"):
        entrypoint.check_volume(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_beams_workers_are_given_this_packages_source_unless_another_is_named() -> None:
    (option,) = package(["--runner=DaskRunner"])
    assert Path(option.removeprefix("--setup_file=")).samefile(Path(__file__).parents[2] / "setup.py")
    assert package(["--setup_file=/app/setup.py"]) == []
