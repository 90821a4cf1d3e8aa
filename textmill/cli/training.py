"""Commands that train: the pipeline, on this machine, on Kubeflow or when it is due, and `train` without one."""

from pathlib import Path
from typing import Annotated

import typer

from textmill.commands.options import DEFAULT, ConfigFile, SnapshotNumber, Verbose, project_of


def run(
    config: ConfigFile = DEFAULT,
    runner: Annotated[
        str, typer.Option(help="local: one step after the other; beam: as Beam schedules them.")
    ] = "local",
    verbose: Verbose = False,
) -> None:
    """Run the pipeline: export, preprocess, fine-tune, evaluate, register."""
    from textmill.commands import run
    from textmill.console import output
    from textmill.ground.errors import UserError

    if runner not in ("local", "beam"):
        raise UserError(f"There is no runner '{runner}'; choose local or beam.")
    project = project_of(config, verbose)
    run.run(project, runner)
    staged = project.registry.resolve("Staging")
    output.say(f"Next: textmill promote {staged.number}" if staged else "Next: textmill status")


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once and end: for a scheduler that calls again.")] = False,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Train when articles, time, ratings or drift say so, and deploy what is better; until Ctrl-C."""
    import threading

    from textmill.commands.watch import watch as keep_watching
    from textmill.console import output

    project = project_of(config, verbose)
    project.registry.check()
    if not once:
        output.say(f"Watching '{project.config.name}' every {project.config.watch.every_s:g} s; Ctrl-C stops it.")
    keep_watching(project, threading.Event(), once)


def kubeflow_compile(
    out: Annotated[Path, typer.Option(help="The YAML file to write.")] = Path("pipeline.yaml"),
    snapshot: SnapshotNumber = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Write the pipeline as a file that Kubeflow Pipelines 2 takes."""
    from textmill.commands import kubeflow
    from textmill.console import output

    kubeflow.compile_for(project_of(config, verbose), out, snapshot)
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
    from textmill.commands import kubeflow

    kubeflow.submit(project_of(config, verbose), parameter or [], snapshot)


def train(
    text: Annotated[
        Path | None, typer.Option(envvar="TEXTMILL_TEXT", help="The text, in UTF-8; the configuration's if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the model and its checkpoints.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A configuration; else the defaults.")] = None,
    base: Annotated[
        str, typer.Option(envvar="MODELSIZE", help="What to start from: a folder, 124M (downloaded), or scratch.")
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; train.steps if left out.")] = None,
    verbose: Verbose = False,
) -> None:
    """Train on a plain text file, or on the articles in the store: no pipeline, no registry."""
    from textmill.commands import train
    from textmill.console import output

    model = train.train(train.plan(config, text, out, base, steps), verbose)
    output.say(f"The model is in {model}. Next: textmill generate TOPIC --bundle {model}")
