"""Compile the pipeline for Kubeflow Pipelines 2, and submit it: `python -m pipeline.kubeflow --snapshot 3 --out FILE`.

`textmill kubeflow` starts this as a child process, because TFX takes 20 seconds to import.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline

from pipeline import kubeflow_submit
from pipeline.graph import graph
from pipeline.kubeflow_platform import VOLUME, equip, platform
from pipeline.parameters import Choices, Resolved
from pipeline.resolving import resolve
from textmill.console import child_process, progress
from textmill.ground.errors import UserError
from textmill.ground.files import write_beside
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config
from textmill.training.bases.base import Base

_NAME = 50  # characters of a pipeline's name
COMMAND = ("python", "-m", "pipeline.entrypoint")
_MEANING = {
    "steps": "optimiser steps",
    "size": "model size: custom (as compiled), 124M, 355M, 774M or 1558M",
    "sources": "sources to train on, separated by commas; empty: all in the snapshot",
    "stage": "stage of a model that passed: Staging, to wait for a reviewer, or Production",
}


def compile_pipeline(config: Config, resolved: Resolved, file: Path) -> None:
    """Write the pipeline as YAML of schema 2.1.0, with a second document for Kubernetes settings.

    Raises:
        UserError: no image is set, or the base is a local folder.
    """
    if not config.kubeflow.image:
        raise UserError("kubeflow.image is not set; set it to the image of the steps, by digest: NAME@sha256:...")
    config = _in_containers(config)
    resolved = replace(resolved, base=_portable(resolved.base))
    defaults = Choices.of(config, resolved.base)
    components = graph(config, resolved, Path(VOLUME), _parameters(defaults, resolved.base))
    specification = _specification(config, components)
    _set_defaults(specification, defaults)
    # it looks in each run whether its version is still in MLflow
    specification["root"]["dag"]["tasks"]["Register"]["cachingOptions"] = {"enableCache": False}
    equip(specification, config, resolved.base)
    documents = [specification, platform(specification, config, resolved.base)]
    write_beside(file, _heading(config, resolved) + yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True))


def _specification(config: Config, components: list[BaseComponent]) -> dict[str, Any]:
    """What TFX's runner makes of the components, with the pipeline's root, which it leaves out."""
    settings = config.kubeflow
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(
            default_image=settings.image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
        )
    )
    pipeline = Pipeline(
        pipeline_name=pipeline_name(config),
        pipeline_root=settings.root,
        components=components,
        enable_cache=settings.cache,
        beam_pipeline_args=config.beam.options,
    )
    specification: dict[str, Any] = runner.run(pipeline, write_out=False)["pipelineSpec"]
    specification["defaultPipelineRoot"] = settings.root
    return specification


def _in_containers(config: Config) -> Config:
    """The configuration with the mounted volume for this machine's folders."""
    tokenizer = config.tokenizer.model_copy(update={"cache_dir": ""})
    return config.model_copy(update={"data_dir": Path(VOLUME), "tokenizer": tokenizer})


def pipeline_name(config: Config) -> str:
    """The model's name as Kubeflow takes it: without underscores, and short enough for what is named after it.

    Argo adds 6 characters for the workflow, whose name is also a label: 63 at most. A shortened name ends with a hash.
    """
    name = config.name.replace("_", "-")
    if len(name) > _NAME:
        name = f"{name[: _NAME - 9].rstrip('-')}-{hashlib.sha256(config.name.encode()).hexdigest()[:8]}"
    return name.rstrip("-")


def _portable(base: Base) -> Base:
    """The base without this machine's folder: the container fetches it again, and its digest says whether it is the same."""
    fetchable = base.from_scratch or base.version or base.name.startswith("hf:") or "/" not in base.name
    if not fetchable:
        raise UserError(
            f"model.base is the local folder {base.directory}, which containers cannot read; "
            "set it to hf:OWNER/NAME or to a version of this model."
        )
    return replace(base, directory="")


def _parameters(defaults: Choices, base: Base) -> Choices:
    """The choices as parameters of the pipeline; a base brings its own size."""
    given = {
        name: RuntimeParameter(name, type(getattr(defaults, name)), getattr(defaults, name))
        for name in Choices.__dataclass_fields__
        if name != "size" or base.from_scratch
    }
    return replace(defaults, **given)


def _set_defaults(specification: dict[str, Any], defaults: Choices) -> None:
    """The runner leaves out what a parameter is where nobody says."""
    for name, parameter in specification["root"]["inputDefinitions"]["parameters"].items():
        parameter |= {"defaultValue": getattr(defaults, name), "isOptional": True, "description": _MEANING[name]}


def _heading(config: Config, resolved: Resolved) -> str:
    production = f"version {resolved.production}" if resolved.production else "none"
    return (
        f"# {config.name}: snapshot {resolved.snapshot}, in Production {production}.\n"
        "# Compiled by 'textmill kubeflow compile'; compile again for another snapshot.\n"
    )


def make(
    file: Path, snapshot: int, out: Path, parameters: Sequence[str], submit: bool, namespace: str | None = None
) -> None:
    """Compile a configuration's pipeline over a snapshot; if `submit`, run it with `NAME=VALUE` parameters.

    Args:
        namespace: instead of `kubeflow.namespace`.
    """
    config = configuration.load(file)
    if namespace is not None:
        kubeflow = config.kubeflow.model_copy(update={"namespace": namespace})
        config = config.model_copy(update={"kubeflow": kubeflow})
    given = kubeflow_submit.parameters(parameters, tuple(Choices.__dataclass_fields__))
    progress.step("Compile")
    compile_pipeline(config, resolve(config, snapshot), out)
    progress.result(str(out))
    if submit:
        progress.step("Submit")
        run = kubeflow_submit.submit(config.kubeflow, pipeline_name(config), out, given)
        progress.result(run.address)
        progress.outcome(run=run.id, address=run.address)


def main() -> int:
    """Run the command line; report a failure in one sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE)
    parser.add_argument("--snapshot", type=int, required=True, help="number of the snapshot to train on")
    parser.add_argument("--out", type=Path, required=True, help="the YAML file to write")
    parser.add_argument("--submit", action="store_true", help="upload it and start a run")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--namespace", help="instead of kubeflow.namespace")
    told = parser.parse_args()
    return child_process.exit_code(
        lambda: make(told.config, told.snapshot, told.out, told.parameter, told.submit, told.namespace)
    )


if __name__ == "__main__":
    sys.exit(main())
