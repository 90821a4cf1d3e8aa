"""Kubernetes settings of each step's container: environment, resources, retries, secrets, volume and nodes.

Names of fields are those of `pipeline_spec.proto` and `kubernetes_executor_config.proto` of Kubeflow Pipelines. Where a
newer field stands beside a deprecated one, both are written as kfp's own compiler does, or else the older alone: all
releases of 2.x read that.
"""

from typing import Any

from kubernetes.utils.quantity import parse_quantity

from pipeline.parameters import how
from textmill.ground.environment import MLFLOW, MONGODB
from textmill.settings.config import Config
from textmill.settings.pipeline import Kubeflow
from textmill.training.bases.base import Base

VOLUME = "/checkpoints"  # where the volume is mounted
MODEL_VARIABLE = "TEXTMILL_MODEL"  # for a step that fetches its base: the registered model's name
VOLUME_VARIABLE = "TEXTMILL_VOLUME"  # for a step with the volume: where it is mounted, to be checked before the work
_READS_STORE = {"ExportArticles"}
_READS_REGISTRY = {"FineTune", "Evaluate", "Register"}
_KEEPS = {"ExportArticles", "Preprocess", "FineTune"}  # signatures, tokens and checkpoints, for the next run
_READS_BASE = {"Preprocess", "FineTune", "Evaluate"}
_RUN = [{"name": "TEXTMILL_RUN", "fieldPath": "metadata.labels['pipeline/runid']"}]


_ALL_RETRIES_WITHIN = (
    "2592000s"  # 30 days: Argo counts the attempts themselves, and a training takes longer than kfp's hour
)


def equip(specification: dict[str, Any], config: Config, base: Base) -> None:
    """Add environment and resources to the containers of a compiled pipeline, and retries to its tasks."""
    if config.kubeflow.retries:
        for task in specification["root"]["dag"]["tasks"].values():
            task["retryPolicy"] = _retries(config.kubeflow)
    for step, label in _executors(specification).items():
        container = specification["deploymentSpec"]["executors"][label]["container"]
        environment = _environment(step, config, base)
        container["env"] = [{"name": name, "value": value} for name, value in sorted(environment.items())]
        if step == "FineTune":
            container["resources"] = resources(config.kubeflow)


def _retries(settings: Kubeflow) -> dict[str, Any]:
    return {
        "maxRetryCount": settings.retries,
        "backoffDuration": f"{settings.retry_after_s}s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": _ALL_RETRIES_WITHIN,
    }


def resources(settings: Kubeflow) -> dict[str, Any]:
    """FineTune's resources; the memory request is also the limit, so that no other pod takes it."""
    gigabytes = float(parse_quantity(settings.memory)) / 1e9
    asked: dict[str, Any] = {
        "cpuRequest": float(parse_quantity(settings.cpu)),
        "resourceCpuRequest": settings.cpu,
        "memoryRequest": gigabytes,
        "resourceMemoryRequest": settings.memory,
        "memoryLimit": gigabytes,
        "resourceMemoryLimit": settings.memory,
    }
    if settings.gpus:
        gpu, count = "nvidia.com/gpu", str(settings.gpus)
        asked["accelerator"] = {"type": gpu, "count": count, "resourceType": gpu, "resourceCount": count}
    return asked


def platform(specification: dict[str, Any], config: Config, base: Base) -> dict[str, Any]:
    """The second document: secrets by name, never their values, and volumes."""
    steps = {label: _on_kubernetes(step, config, base) for step, label in _executors(specification).items()}
    executors = {label: given for label, given in steps.items() if given}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _on_kubernetes(step: str, config: Config, base: Base) -> dict[str, Any]:
    variables = [MONGODB] * (step in _READS_STORE)
    variables += [MLFLOW] * (step in _READS_REGISTRY or _fetches_base(step, base))
    keys = [{"secretKey": variable, "envVar": variable} for variable in variables]
    given: dict[str, Any] = {}
    if keys:
        given["secretAsEnv"] = [{"secretName": config.kubeflow.secret, "keyToEnv": keys}]
    if step in _READS_REGISTRY:
        given["fieldPathAsEnv"] = _RUN  # the run's name in MLflow
    if _has_volume(step, base):
        given["pvcMount"] = [{"constant": config.kubeflow.volume, "mountPath": VOLUME}]
    return given | _nodes(config.kubeflow, step == "FineTune")


def _nodes(settings: Kubeflow, trains: bool) -> dict[str, Any]:
    """On which nodes a step runs, and with which secrets they fetch the image."""
    given: dict[str, Any] = {}
    if labels := settings.node_selector | (settings.train_node_selector if trains else {}):
        given["nodeSelector"] = {"labels": labels}
    tolerations = [*settings.tolerations, *(settings.train_tolerations if trains else [])]
    if tolerations:
        given["tolerations"] = [
            {name: value for name, value in each.model_dump().items() if value} for each in tolerations
        ]
    if settings.image_pull_secrets:
        given["imagePullSecret"] = [{"secretName": name} for name in settings.image_pull_secrets]
    return given


def _environment(step: str, config: Config, base: Base) -> dict[str, str]:
    environment = how(config) if step in _KEEPS else {}
    if step == "FineTune":
        environment["KERAS_BACKEND"] = config.train.backend  # TFX imports Keras, which reads it once
    if _fetches_base(step, base):
        environment[MODEL_VARIABLE] = config.name
    if _has_volume(step, base):
        environment[VOLUME_VARIABLE] = VOLUME
    return environment


def _fetches_base(step: str, base: Base) -> bool:
    return step in _READS_BASE and not base.from_scratch


def _has_volume(step: str, base: Base) -> bool:
    return step in _KEEPS or _fetches_base(step, base)


def _executors(specification: dict[str, Any]) -> dict[str, str]:
    """By step, the label of its executor."""
    return {name: component["executorLabel"] for name, component in specification["components"].items()}
