"""Execute a compiled pipeline as a Kubeflow cluster does: one process for each container, files through a bucket.

What the driver and the launcher of Kubeflow Pipelines 2 do is done here in their words: executor inputs with `minio://`
URIs, inputs of earlier steps without a schema, files downloaded below /minio and uploaded from there, output metadata in
a file, nothing in the environment but what the two documents give.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.entrypoint import MOUNTS, to_local

SOURCE = Path(__file__).resolve().parents[2]  # what the image holds
RUN = "5f3a2c1e-0000-4000-8000-000000000001"


@dataclass
class Cluster:
    """A bucket, a volume and secrets."""

    folder: Path
    secrets: dict[str, dict[str, str]]
    artifacts: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # by step and name, as the metadata store keeps them
    logs: dict[str, str] = field(default_factory=dict)

    def run(self, file: Path, arguments: dict[str, Any]) -> None:
        """Run every step after those it depends on; the arguments are the pipeline's parameters."""
        self.specification, self.platform = yaml.safe_load_all(file.read_text(encoding="utf-8"))
        defined = self.specification["root"]["inputDefinitions"]["parameters"]
        given = {name: arguments.get(name, each["defaultValue"]) for name, each in defined.items()}
        tasks = dict(self.specification["root"]["dag"]["tasks"])
        while tasks:
            ready = next(name for name, task in tasks.items() if set(task.get("dependentTasks", [])) <= set(self.logs))
            self._step(ready, tasks.pop(ready), given)

    def _step(self, name: str, task: dict[str, Any], given: dict[str, Any]) -> None:
        pod = self.folder / "pods" / name
        pod.mkdir(parents=True)
        invocation = self._invocation(name, task, given, pod)
        for each in _artifacts(invocation["inputs"]):  # the launcher downloads
            shutil.copytree(self._in_bucket(each["uri"]), to_local(each["uri"], pod))
        container, environment = self._container(name, pod)
        command = [*container["command"], *container["args"]]
        command = [part.replace("{{$}}", json.dumps(invocation)) for part in command]
        ran = subprocess.run(command, cwd=pod, env=environment, capture_output=True, text=True, timeout=900)
        self.logs[name] = ran.stdout + ran.stderr
        assert ran.returncode == 0, f"{name}: {self.logs[name][-3000:]}"
        said = json.loads(Path(invocation["outputs"]["outputFile"]).read_text(encoding="utf-8"))
        for key, entry in invocation["outputs"]["artifacts"].items():
            (artifact,) = entry["artifacts"]
            (now,) = said["artifacts"][key]["artifacts"]
            assert now["uri"] == artifact["uri"]
            shutil.copytree(to_local(artifact["uri"], pod), self._in_bucket(artifact["uri"]))  # and uploads
            self.artifacts[f"{name}.{key}"] = artifact | {"metadata": now.get("metadata", {})}

    def _invocation(self, name: str, task: dict[str, Any], given: dict[str, Any], pod: Path) -> dict[str, Any]:
        root = (
            f"{self.specification['defaultPipelineRoot']}/{self.specification['pipelineInfo']['name']}/{RUN}/{name}/7"
        )
        inputs = task.get("inputs", {})
        values = {key: _value(each, given) for key, each in inputs.get("parameters", {}).items()}
        mount = str(self.folder / "volume")  # a mount, as far as one process can have one
        values = {
            key: value.replace("/checkpoints", mount)
            if isinstance(value, str) and value.startswith("/checkpoints")
            else value
            for key, value in values.items()
        }
        artifacts = {}
        for key, each in inputs.get("artifacts", {}).items():
            source = each["taskOutputArtifact"]
            kept = self.artifacts[f"{source['producerTask']}.{source['outputArtifactKey']}"]
            artifacts[key] = {"artifacts": [kept | {"type": {"instanceSchema": ""}}]}
        component = self.specification["components"][task["componentRef"]["name"]]
        outputs = {
            key: {"artifacts": [{"name": key, "uri": f"{root}/{key}", "type": each["artifactType"], "metadata": {}}]}
            for key, each in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        return {
            "inputs": {"parameterValues": values, "artifacts": artifacts},
            "outputs": {"artifacts": outputs, "outputFile": str(pod / "kfp_outputs" / "output_metadata.json")},
        }

    def _container(self, name: str, pod: Path) -> tuple[dict[str, Any], dict[str, str]]:
        """A step's container, and all that stands in its environment."""
        label = self.specification["components"][name]["executorLabel"]
        container = self.specification["deploymentSpec"]["executors"][label]["container"]
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCE),
            "HOME": str(pod),
            MOUNTS: str(pod),
        }
        environment |= {each["name"]: each["value"] for each in container.get("env", [])}
        given = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].get(label, {})
        for secret in given.get("secretAsEnv", []):
            for key in secret["keyToEnv"]:
                environment[key["envVar"]] = self.secrets[secret["secretName"]][key["secretKey"]]
        environment |= {each["name"]: RUN for each in given.get("fieldPathAsEnv", [])}
        return container, environment

    def _in_bucket(self, uri: str) -> Path:
        return self.folder / "bucket" / uri.partition("://")[2]


def _value(parameter: dict[str, Any], given: dict[str, Any]) -> Any:
    if "componentInputParameter" in parameter:
        return given[parameter["componentInputParameter"]]
    return parameter["runtimeValue"]["constant"]


def _artifacts(side: dict[str, Any]) -> list[dict[str, Any]]:
    return [artifact for entry in side.get("artifacts", {}).values() for artifact in entry["artifacts"]]
