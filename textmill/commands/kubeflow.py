"""`textmill kubeflow`: compile and submit the pipeline, in a child process that imports TFX."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textmill.commands.project import DEFAULT, ConfigFile, SnapshotNumber, Verbose, project_of
from textmill.ground.errors import UserError

if TYPE_CHECKING:
    from textmill.commands.project import Project


def kubeflow_compile(
    out: Annotated[Path, typer.Option(help="YAML file to write.")] = Path("pipeline.yaml"),
    snapshot: SnapshotNumber = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Compile the pipeline to a YAML file for Kubeflow Pipelines 2."""
    from textmill.console import output

    compile_for(project_of(config, verbose), out, snapshot)
    output.say("Next: textmill kubeflow submit, or upload the file on Kubeflow's page")


def kubeflow_submit(
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="Set steps=, size=, sources= or stage= for this run.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Your namespace in a multi-user Kubeflow, instead of kubeflow.namespace.")
    ] = None,
    snapshot: SnapshotNumber = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Compile the pipeline, upload it and start a run."""

    submit(project_of(config, verbose), parameter or [], snapshot, namespace)


def compile_for(project: Project, out: Path, snapshot: int | None = None) -> dict[str, Any]:
    """Write the pipeline as YAML for Kubeflow, over a snapshot; a new one if `snapshot` is None."""
    return _run(project, out, snapshot, [])


def submit(
    project: Project, parameters: Sequence[str], snapshot: int | None = None, namespace: str | None = None
) -> dict[str, Any]:
    """Compile over a snapshot, upload and run; return the run's id and its page's address.

    Args:
        parameters: `NAME=VALUE` each, for this run only.
        namespace: instead of `kubeflow.namespace`.
    """
    given = [f"--parameter={parameter}" for parameter in parameters]
    given += [] if namespace is None else [f"--namespace={namespace}"]
    out = project.config.data_dir / "kubeflow" / f"{project.config.name}.yaml"
    return _run(project, out, snapshot, ["--submit", *given])


def _run(project: Project, out: Path, snapshot: int | None, options: Sequence[str]) -> dict[str, Any]:
    from textmill.commands.project import take_snapshot
    from textmill.console import child_process
    from textmill.training.bases import resolving

    if out.suffix != ".yaml":
        raise UserError(f"'{out.name}' does not end in .yaml, as Kubeflow requires; name the file FILE.yaml.")
    if not project.config.kubeflow.image:
        raise UserError("kubeflow.image is not set; set it to the image of the steps, by digest: NAME@sha256:...")
    resolving.check_folder(project.config)
    addresses = project.addresses
    project.registry.check()
    number = project.store.snapshot(snapshot).number if snapshot else take_snapshot(project).number
    command = [sys.executable, "-P", "-m", "pipeline.kubeflow", "--config", str(project.file)]
    command += ["--snapshot", str(number), "--out", str(out.absolute()), *options]
    environment = {**addresses.environment(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return child_process.run_child(command, project.log("kubeflow"), environment, project.verbose, "Loading TFX")
