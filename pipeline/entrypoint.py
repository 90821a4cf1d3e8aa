"""The container command of every step on Kubeflow, instead of TFX's own: `python -m pipeline.entrypoint`.

TFX's expects artifacts with their type and URIs that TensorFlow opens. Kubeflow's launcher sends artifacts of earlier
steps without a type, and `minio://`, `s3://` or `gs://` URIs whose files it has mounted or downloaded below /minio, /s3
or /gcs. So types are restored from the component's own declaration, URIs are mapped to the local folders and, in what
the step says of its outputs, back again; the work between is TFX's.

Kubeflow also adds outputs of its own, such as `executor-logs`, into which the launcher writes. What the component does not
declare is left to the launcher.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
from tfx.types.component_spec import ComponentSpec
from tfx.utils import import_utils

from pipeline.beam_package import package
from pipeline.kubeflow_platform import MODEL_VARIABLE, VOLUME_VARIABLE
from pipeline.parameters import code
from textmill.ground import environment
from textmill.ground.errors import TextmillError, UserError
from textmill.ground.files import write_beside
from textmill.registry.model_registry import ModelRegistry
from textmill.settings.config import Config
from textmill.settings.model import Model
from textmill.training.bases import resolving
from textmill.training.bases.base import Base

MOUNTS = "TEXTMILL_MOUNTS"  # the folder in which the launcher's mounts lie, where it is not the root
_SCHEMES = {"minio": "minio", "s3": "s3", "gs": "gcs"}  # of URIs, with the launcher's name for each


def to_local(uri: str, mounts: Path) -> str:
    """The folder where the launcher mounts a URI; other URIs are returned unchanged."""
    scheme, found, rest = uri.partition("://")
    return str(mounts / _SCHEMES[scheme] / rest) if found and scheme in _SCHEMES else uri


def to_remote(path: str, mounts: Path) -> str:
    """The URI of such a folder."""
    for scheme, name in _SCHEMES.items():
        if path.startswith(f"{mounts / name}/"):
            return f"{scheme}://{path.removeprefix(f'{mounts / name}/')}"
    return path


def localised(invocation: dict[str, Any], specification: type[ComponentSpec], mounts: Path) -> dict[str, Any]:
    """The launcher's message with types and local folders added, and only with declared artifacts; creates output folders."""
    for side, declared in (("inputs", specification.INPUTS), ("outputs", specification.OUTPUTS)):
        sent = invocation.setdefault(side, {}).get("artifacts", {})  # what is empty is not sent
        ours = {name: entry for name, entry in sent.items() if name in declared}
        invocation[side]["artifacts"] = ours
        for name, entry in ours.items():
            schema = compiler_utils.get_artifact_schema(declared[name].type).decode()
            for artifact in entry.get("artifacts", []):
                artifact["type"] = {"instanceSchema": schema}
                artifact["uri"] = to_local(artifact["uri"], mounts)
                if side == "outputs" and artifact["uri"].startswith("/"):
                    Path(artifact["uri"]).mkdir(parents=True, exist_ok=True)
    return invocation


def delocalised(output: dict[str, Any], mounts: Path) -> dict[str, Any]:
    """A step's output message with the launcher's URIs restored."""
    for entry in output.get("artifacts", {}).values():
        for artifact in entry.get("artifacts", []):
            artifact["uri"] = to_remote(artifact["uri"], mounts)
    return output


def fetched(described: str, model: str, volume: Path) -> str:
    """Fetch a base that was resolved elsewhere to this container's volume; return its JSON.

    Raises:
        UserError: it cannot be fetched, or has changed.
    """
    base = Base.from_json(described)
    if base.from_scratch:
        return described
    registry = ModelRegistry(environment.address(environment.MLFLOW), model)
    wanted = Config(name=model, data_dir=volume, text=volume, model=Model(base=base.name))
    found = resolving.resolve(wanted, registry)
    if found.digest != base.digest:
        raise UserError(f"The base {base.name} has changed since the pipeline was compiled; compile it again.")
    return found.to_json()


def _specification(executor: str) -> type[ComponentSpec]:
    component = import_utils.import_class_by_path(re.sub(r"_Executor$", "", executor))
    return component.SPEC_CLASS


def check_volume(volume: Path) -> None:
    """Raise UserError unless this step's user can write to the mounted volume: Kubeflow's pods have no fsGroup."""
    try:
        with tempfile.TemporaryFile(dir=volume):
            pass
    except OSError as error:
        raise UserError(
            f"The volume at {volume} cannot be written by user {os.getuid()} ({error.strerror}); give it to that user "
            "once, as docs/kubeflow.md shows: kubectl apply -k deploy/kubernetes/kubeflow."
        ) from error


def run() -> None:
    """Run one step for Kubeflow's launcher."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", default="")
    arguments, beam = parser.parse_known_args()
    if VOLUME_VARIABLE in os.environ:
        check_volume(Path(os.environ[VOLUME_VARIABLE]))
    mounts = Path(os.environ.get(MOUNTS, "/"))
    invocation = json.loads(arguments.json_serialized_invocation_args)
    invocation = localised(invocation, _specification(arguments.executor_class_path), mounts)
    parameters = invocation["inputs"].get("parameterValues", {})
    if MODEL_VARIABLE in os.environ and "base" in parameters:
        parameters["base"] = fetched(parameters["base"], os.environ[MODEL_VARIABLE], Path(os.environ[VOLUME_VARIABLE]))
    if "code" in parameters:  # the lineage is to name the code that runs, whatever compiled the pipeline
        step = arguments.executor_class_path.split(".")[-2]
        parameters["code"] = code(step, os.environ.get("KERAS_BACKEND", "tensorflow"))
    arguments.json_serialized_invocation_args = json.dumps(invocation)
    kubeflow_v2_run_executor.main((arguments, [*beam, *package(beam)]))
    output = Path(invocation["outputs"]["outputFile"])
    said = delocalised(json.loads(output.read_text(encoding="utf-8")), mounts)
    write_beside(output, json.dumps(said))


def main() -> int:
    """Run the step; a failure that is not ours is one sentence at the end of the pod's log."""
    try:
        run()
    except TextmillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
