"""The pipeline on Kubeflow, compiled and submitted by a child process that may import TFX."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textmill.commands.project import Project, take_snapshot
from textmill.console import child_process
from textmill.ground.errors import UserError
from textmill.training.bases import resolving


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
