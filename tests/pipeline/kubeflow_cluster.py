"""Execute a compiled pipeline as a Kubeflow cluster does: one container after another, files through a bucket.

What is done here was read in Kubeflow Pipelines' own sources, at the tags 2.5.0 and 2.16.1 and at the head of pull request
13986, which removes ML Metadata from the master branch (August 2026):

- `backend/src/v2/driver/driver.go` (`provisionOutputs`): where a step's outputs go, and `executor-logs` among them;
- `backend/src/v2/driver/resolve.go`, `backend/src/v2/metadata/client.go`, `converter.go`: an earlier step's output as an
  input; in the pull request `driver/container.go` (`convertArtifactToRuntimeArtifact`);
- `backend/src/v2/component/launcher_v2.go`: download, folders, placeholders, the log file, the output message, upload;
- `backend/src/v2/compiler/argocompiler/common.go`: a container's environment;
- `api/v2alpha1/pipeline_spec.proto`: the messages, of which protojson leaves out what is empty.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from warm_steps import Command, run_in_own_process

RUN = "5f3a2c1e-0000-4000-8000-000000000001"
LOGS = "executor-logs"  # with PUBLISH_LOGS, as it is by default
_MOUNTS = {"minio": "minio", "s3": "s3", "gs": "gcs"}  # folder at the container's root, by scheme


@dataclass(frozen=True)
class Protocol:
    """What one version of Kubeflow Pipelines sends to a step, and what it makes of the answer."""

    output_file: str  # for the output message; {task} is the local folder of the step's outputs
    outputs_named: bool  # whether an output has its key as `name`
    log_file: str  # what the URI of the logs ends with: later launchers add the number of the attempt
    metadata_store: bool  # between the steps: an input's name is a number in it, and its type is lost
    outputs_required: bool  # whether a declared output that is not there fails the step
    variables: dict[str, str]  # in every container

    def stored(self, metadata: dict[str, Any], key: str) -> dict[str, Any]:
        """An output's metadata as later steps get it."""
        if not self.metadata_store:
            return metadata
        session = json.dumps({"Provider": "minio", "Params": {"fromEnv": "false"}})
        kept = {name: int(value) if isinstance(value, bool) else value for name, value in metadata.items()}
        return {"display_name": key, "store_session_info": session} | kept


_POD = {"KFP_POD_NAME": "textmill-x7k2p-system-container-impl-1", "KFP_POD_UID": "0c9d2f44-0000-4000-8000-000000000007"}
_STORE = {"METADATA_GRPC_SERVICE_HOST": "metadata-grpc-service", "METADATA_GRPC_SERVICE_PORT": "8080"}
_RETRIED = {"KFP_RETRY_INDEX": "{attempt}"}
_LATER = "{task}/output_metadata.json", True, LOGS + "-{attempt}"
# version: output file, outputs named, log file, metadata store, outputs required, variables
PROTOCOLS = {
    "2.5": Protocol("/tmp/kfp_outputs/output_metadata.json", False, LOGS, True, False, _POD | _STORE),
    "2.16": Protocol(*_LATER, True, False, _POD | _STORE | _RETRIED),
    "master": Protocol(*_LATER, False, True, _POD | _RETRIED | {"NAMESPACE": "kubeflow"}),
}


@dataclass
class Cluster:
    """A bucket, a volume and secrets."""

    folder: Path
    secrets: dict[str, dict[str, str]]
    protocol: Protocol = PROTOCOLS["2.16"]
    execute: Callable[[Command], int] = run_in_own_process
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by step and name, as they are recorded
    logs: dict[str, str] = field(default_factory=dict)

    def run(self, file: Path, arguments: dict[str, Any], until: str = "") -> None:
        """Run every step that has not run yet after those it depends on, up to the step `until`.

        Args:
            arguments: the pipeline's parameters.
        """
        self.specification, self.platform = yaml.safe_load_all(file.read_text(encoding="utf-8"))
        (self.folder / "volume").mkdir(parents=True, exist_ok=True)
        defined = self.specification["root"]["inputDefinitions"]["parameters"]
        given = {name: arguments.get(name, each["defaultValue"]) for name, each in defined.items()}
        tasks = {name: task for name, task in self._tasks().items() if name not in self.logs}
        while tasks and until not in self.logs:
            ready = next(name for name, task in tasks.items() if set(task.get("dependentTasks", [])) <= set(self.logs))
            self._step(ready, tasks.pop(ready), given)

    def in_bucket(self, uri: str) -> Path:
        """What the bucket has at a URI."""
        return self.folder / "bucket" / uri.partition("://")[2]

    def _tasks(self) -> dict[str, Any]:
        return dict(self.specification["root"]["dag"]["tasks"])

    def _step(self, name: str, task: dict[str, Any], given: dict[str, Any]) -> None:
        """Prepare a step as the driver does, and run it as often as its retry policy allows, in a new pod each time."""
        drawn = str(uuid.uuid4())
        attempts = 1 + task.get("retryPolicy", {}).get("maxRetryCount", 0)
        for attempt in range(attempts):
            pod = self.folder / "pods" / f"{name}-{drawn}-{attempt}"
            pod.mkdir(parents=True)
            outputs = self._outputs(name, drawn, pod, attempt)
            message = _without_empty({"inputs": self._inputs(task, given), "outputs": outputs})
            code, said = self._launch(name, message, pod, attempt)
            self.logs[name] = self.logs.get(name, "") + said
            if code == 0:
                return self._publish(name, message["outputs"], pod)
        raise AssertionError(f"{name}: {self.logs[name][-3000:]}")

    def _launch(self, name: str, message: dict[str, Any], pod: Path, attempt: int) -> tuple[int, str]:
        """Do the launcher's work before a container's, run that, and return its exit code and what it printed."""
        for each in _artifacts(message["inputs"]):
            _copy(self.in_bucket(each["uri"]), _local(each["uri"], pod))
        for each in _artifacts(message["outputs"]):
            _local(each["uri"], pod).parent.mkdir(parents=True, exist_ok=True)
        (written,) = message["outputs"]["artifacts"][LOGS]["artifacts"]
        log = _local(written["uri"], pod)
        log.touch()
        container, environment = self._container(name, attempt)
        line = [part.replace("{{$}}", json.dumps(message)) for part in (*container["command"], *container["args"])]
        code = self.execute(Command(line, environment, pod, log))
        return code, log.read_text("utf-8")

    def _publish(self, name: str, outputs: dict[str, Any], pod: Path) -> None:
        """Read the step's message as strictly as the launcher, upload what it made, and record it."""
        text = Path(outputs["outputFile"]).read_text("utf-8")
        json_format.Parse(text, pipeline_spec_pb2.ExecutorOutput())  # which refuses unknown fields
        said = json.loads(text).get("artifacts", {})
        assert LOGS not in said
        for key, entry in outputs["artifacts"].items():
            (artifact,) = entry["artifacts"]
            made = _local(artifact["uri"], pod)
            assert made.exists() or not self.protocol.outputs_required, f"{name} made no {key}"
            _copy(made, self.in_bucket(artifact["uri"]))
            if key != LOGS:
                (now,) = said[key]["artifacts"]
                assert now["uri"] == artifact["uri"]
                self.artifacts[f"{name}.{key}"] = artifact | {"metadata": now.get("metadata", {})}

    def _inputs(self, task: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        inputs = task.get("inputs", {})
        values = {key: self._mounted(_value(each, given)) for key, each in inputs.get("parameters", {}).items()}
        artifacts = {}
        for key, each in inputs.get("artifacts", {}).items():
            source = each["taskOutputArtifact"]
            artifacts[key] = {"artifacts": [self._input(source["producerTask"], source["outputArtifactKey"])]}
        return {"parameterValues": values, "artifacts": artifacts}

    def _input(self, step: str, key: str) -> dict[str, Any]:
        """An earlier step's output, as a later step gets it."""
        kept = self.artifacts[f"{step}.{key}"]
        number = [*self.artifacts].index(f"{step}.{key}") + 1
        sent = {"uri": kept["uri"], "metadata": self.protocol.stored(kept["metadata"], key)}
        if self.protocol.metadata_store:
            return sent | {"name": str(number), "type": {"instanceSchema": ""}}
        # the type's YAML where a title is expected, since it is none of Kubeflow's own types
        title = {"schemaTitle": kept["type"]["instanceSchema"]}
        return sent | {"name": key, "type": title, "artifactId": str(uuid.uuid5(uuid.NAMESPACE_URL, kept["uri"]))}

    def _outputs(self, name: str, drawn: str, pod: Path, attempt: int) -> dict[str, Any]:
        root, pipeline = self.specification["defaultPipelineRoot"], self.specification["pipelineInfo"]["name"]
        task = f"{root}/{pipeline}/{RUN}/{name}/{drawn}"
        declared = self.specification["components"][name].get("outputDefinitions", {}).get("artifacts", {})
        types = {key: each["artifactType"] for key, each in declared.items()} | {
            LOGS: {"schemaTitle": "system.Artifact"}
        }
        artifacts = {}
        for key, schema in types.items():
            uri = f"{task}/{self.protocol.log_file.format(attempt=attempt) if key == LOGS else key}"
            named = key if self.protocol.outputs_named else ""
            artifacts[key] = {"artifacts": [{"name": named, "uri": uri, "type": schema}]}
        file = self.protocol.output_file
        local = _local(task, pod) / Path(file).name if "{task}" in file else pod / file.lstrip("/")
        return {"artifacts": artifacts, "outputFile": str(local)}

    def _container(self, name: str, attempt: int) -> tuple[dict[str, Any], dict[str, str]]:
        """A step's container, and what Kubeflow and the two documents put into its environment."""
        label = self.specification["components"][name]["executorLabel"]
        container = self.specification["deploymentSpec"]["executors"][label]["container"]
        environment = {key: value.format(attempt=attempt) for key, value in self.protocol.variables.items()}
        environment |= {each["name"]: self._mounted(each["value"]) for each in container.get("env", [])}
        given = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].get(label, {})
        for secret in given.get("secretAsEnv", []):
            for key in secret["keyToEnv"]:
                environment[key["envVar"]] = self.secrets[secret["secretName"]][key["secretKey"]]
        environment |= {each["name"]: RUN for each in given.get("fieldPathAsEnv", [])}
        return container, environment

    def _mounted(self, value: Any) -> Any:
        """A path on the volume as this process reaches it: it has no mounts of its own."""
        if isinstance(value, str) and value.startswith("/checkpoints"):
            return value.replace("/checkpoints", str(self.folder / "volume"))
        return value


def _local(uri: str, pod: Path) -> Path:
    """Where the launcher puts a URI's files."""
    scheme, _, rest = uri.partition("://")
    return pod / _MOUNTS[scheme] / rest


def _copy(source: Path, target: Path) -> None:
    """Through a bucket, which has files and no folders."""
    for file in [source] if source.is_file() else sorted(source.rglob("*")):
        if file.is_file():
            place = target / file.relative_to(source) if file != source else target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def _without_empty(message: Any) -> Any:
    """A message without what is empty, as protojson writes it; values given by a step or a user stay as they are."""
    if isinstance(message, list):
        return [_without_empty(each) for each in message]
    if not isinstance(message, dict):
        return message
    kept = {
        key: value if key in ("parameterValues", "metadata", "type") else _without_empty(value)
        for key, value in message.items()
    }
    return {key: value for key, value in kept.items() if value not in ("", {}, [])}


def _value(parameter: dict[str, Any], given: dict[str, Any]) -> Any:
    if "componentInputParameter" in parameter:
        return given[parameter["componentInputParameter"]]
    return parameter["runtimeValue"]["constant"]


def _artifacts(side: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in side.get("artifacts", {}).values():
        yield from entry["artifacts"]
