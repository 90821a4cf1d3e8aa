"""`textmill kubeflow`: the pipeline compiled and submitted by a child process that may import TFX."""

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
    out: Annotated[Path, typer.Option(help="The YAML file to write.")] = Path("pipeline.yaml"),
    snapshot: SnapshotNumber = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Write the pipeline as a file that Kubeflow Pipelines 2 takes."""
    from textmill.console import output

    compile_for(project_of(config, verbose), out, snapshot)
    output.say("Next: textmill kubeflow submit, or upload the file in Kubeflow's page")


def kubeflow_submit(
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="steps=, size=, sources= or stage=, for this run.")
    ] = None,
    snapshot: SnapshotNumber = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Compile the pipeline afresh, upload it and start a run."""

    submit(project_of(config, verbose), parameter or [], snapshot)


def compile_for(project: Project, out: Path, snapshot: int | None = None) -> dict[str, Any]:
    """Write the pipeline over a snapshot, of what the store holds now unless one is named, as YAML for Kubeflow."""
    return _run(project, out, snapshot, [])


def submit(project: Project, parameters: Sequence[str], snapshot: int | None = None) -> dict[str, Any]:
    """Compile over a snapshot, upload and run; returns the run's id and the address of its page.

    Args:
        parameters: `NAME=VALUE` each, for this run alone.
    """
    given = [f"--parameter={parameter}" for parameter in parameters]
    out = project.config.data_dir / "kubeflow" / f"{project.config.name}.yaml"
    return _run(project, out, snapshot, ["--submit", *given])


def _run(project: Project, out: Path, snapshot: int | None, options: Sequence[str]) -> dict[str, Any]:
    from textmill.commands.project import take_snapshot
    from textmill.console import child_process
    from textmill.training.bases import resolving

    if out.suffix != ".yaml":
        raise UserError(f"Kubeflow takes no '{out.name}'; give a file whose name ends in .yaml.")
    if not project.config.kubeflow.image:
        raise UserError("kubeflow.image is not set; name the image that the steps run in, by its digest.")
    resolving.check_folder(project.config)
    addresses = project.addresses
    project.registry.check()
    number = project.store.snapshot(snapshot).number if snapshot else take_snapshot(project).number
    command = [sys.executable, "-P", "-m", "pipeline.kubeflow", "--config", str(project.file)]
    command += ["--snapshot", str(number), "--out", str(out.absolute()), *options]
    environment = {**addresses.environment(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return child_process.run_child(command, project.log("kubeflow"), environment, project.verbose, "Loading TFX")
