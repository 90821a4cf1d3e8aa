"""`textmill run`: run the pipeline on this machine, over a new snapshot of the store."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textmill.commands.project import DEFAULT, ConfigFile, Verbose, project_of

if TYPE_CHECKING:
    from textmill.commands.project import Project
    from textmill.settings.config import Config

STEPS = ("ExportArticles", "Preprocess", "FineTune", "Evaluate", "Register")


def run(
    config: ConfigFile = DEFAULT,
    runner: Annotated[str, typer.Option(help="local: one step after another; beam: scheduled by Beam.")] = "local",
    first: Annotated[
        str,
        typer.Option("--from", metavar="STEP", help="Run this step and all after it, even if nothing changed."),
    ] = "",
    again: Annotated[str, typer.Option(metavar="STEP", help="Run only this step, from its recorded inputs.")] = "",
    verbose: Verbose = False,
) -> None:
    """Run the pipeline: export, preprocess, fine-tune, evaluate, register."""
    from textmill.commands import next_step
    from textmill.console import output
    from textmill.ground.errors import UserError

    if runner not in ("local", "beam"):
        raise UserError(f"There is no runner '{runner}'; choose local or beam.")
    if first and again:
        raise UserError("--from and --again exclude each other; --from also runs the steps after it, --again does not.")
    for step in filter(None, (first, again)):
        if step not in STEPS:
            raise UserError(f"There is no step '{step}'; choose one of {', '.join(STEPS)}.")
    project = project_of(config, verbose)
    if changed := _changed(project.config):
        output.say(f"Settings that differ from the defaults: {', '.join(changed)}")
    part = [f"--from={first}"] * bool(first) + [f"--again={again}"] * bool(again)
    outcome = run_pipeline(project, runner, part)
    for line in next_step.after_run(project.registry, outcome):
        output.say(line)


def _changed(config: Config) -> list[str]:
    """The settings whose values are not the defaults, each as `name: value`; names, sites and folders are left out."""
    from textmill.settings.group import flat

    given = config.model_dump(mode="json", exclude_defaults=True, exclude={"name", "sources", "data_dir", "text"})
    return [f"{name}: {value}" for name, value in flat(given).items()]


def run_pipeline(project: Project, runner: str = "local", part: Sequence[str] = ()) -> dict[str, Any]:
    """Run the pipeline over a new snapshot of the store; return the registered version and its stage.

    Args:
        part: options of `pipeline.local` that choose the steps to run.

    Raises:
        UserError: another run uses this data folder.
    """
    from textmill.commands.project import take_snapshot
    from textmill.console import child_process
    from textmill.ground.files import RUN_LOCK, alone
    from textmill.training.bases import resolving
    from textmill.training.memory import malloc

    resolving.check_folder(project.config)
    with alone(project.config.data_dir) as lock:  # before TFX is loaded: a second run is refused at once
        addresses = project.addresses
        project.registry.check()
        snapshot = take_snapshot(project)
        command = [sys.executable, "-P", "-m", "pipeline.local", "--config", str(project.file)]
        command += ["--snapshot", str(snapshot.number), "--runner", runner, *part]
        name = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {secrets.token_hex(2)}"
        environment = {**addresses.environment(), "TEXTMILL_RUN": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["KERAS_BACKEND"] = project.config.train.backend  # TFX imports Keras, which reads it once
        environment |= malloc.ENVIRONMENT | {RUN_LOCK: str(lock)}
        return child_process.run_child(
            command, project.log("run"), environment, project.verbose, "Loading TFX and TensorFlow", keep=[lock]
        )
