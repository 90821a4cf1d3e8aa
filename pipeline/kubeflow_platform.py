"""What Kubernetes gives each step's container: environment, GPUs and memory, secrets, the volume that outlives a step.

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
MODEL_VARIABLE = "TEXTMILL_MODEL"  # for a step that fetches its base: the registered model's name, and
VOLUME_VARIABLE = "TEXTMILL_VOLUME"  # the folder to keep it in
_READS_STORE = {"ExportArticles"}
_READS_REGISTRY = {"FineTune", "Evaluate", "Register"}
_KEEPS = {"ExportArticles", "Preprocess", "FineTune"}  # signatures, tokens and checkpoints, for the next run
_READS_BASE = {"Preprocess", "FineTune", "Evaluate"}
_RUN = [{"name": "TEXTMILL_RUN", "fieldPath": "metadata.labels['pipeline/runid']"}]


def equip(specification: dict[str, Any], config: Config, base: Base) -> None:
    """Add environment and resources to the containers of a compiled pipeline."""
    for step, label in _executors(specification).items():
        container = specification["deploymentSpec"]["executors"][label]["container"]
        environment = _environment(step, config, base)
        container["env"] = [{"name": name, "value": value} for name, value in sorted(environment.items())]
        if step == "FineTune":
            container["resources"] = resources(config.kubeflow)


def resources(settings: Kubeflow) -> dict[str, Any]:
    """What FineTune asks for: the memory is its limit too, so that another pod cannot take it."""
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
    from_base = step in _READS_BASE and not base.from_scratch
    variables = [MONGODB] * (step in _READS_STORE) + [MLFLOW] * (step in _READS_REGISTRY or from_base)
    keys = [{"secretKey": variable, "envVar": variable} for variable in variables]
    given: dict[str, Any] = {}
    if keys:
        given["secretAsEnv"] = [{"secretName": config.kubeflow.secret, "keyToEnv": keys}]
    if step in _READS_REGISTRY:
        given["fieldPathAsEnv"] = _RUN  # the run's name in MLflow
    if step in _KEEPS or from_base:
        given["pvcMount"] = [{"constant": config.kubeflow.volume, "mountPath": VOLUME}]
    return given


def _environment(step: str, config: Config, base: Base) -> dict[str, str]:
    environment = how(config) if step in _KEEPS else {}
    if step == "FineTune":
        environment["KERAS_BACKEND"] = config.train.backend  # TFX imports Keras, which reads it once
    if step in _READS_BASE and not base.from_scratch:
        environment |= {MODEL_VARIABLE: config.name, VOLUME_VARIABLE: VOLUME}
    return environment


def _executors(specification: dict[str, Any]) -> dict[str, str]:
    """By step, the label of its executor."""
    return {name: component["executorLabel"] for name, component in specification["components"].items()}
