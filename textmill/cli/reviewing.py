"""Commands for versions: seen, promoted, rolled back, downloaded."""

from pathlib import Path
from typing import Annotated

import typer

from textmill.commands.options import DEFAULT, ConfigFile, Why, project_of


def status(config: ConfigFile = DEFAULT) -> None:
    """Show the articles, the versions and the servers."""
    from textmill.commands import status

    status.status(project_of(config))


def promote(
    version: Annotated[int | None, typer.Argument(help="The version; the one in Staging if left out.")] = None,
    stage: Annotated[str, typer.Option(help="Staging, Production, Archived or None.")] = "Production",
    why: Why = "",
    force: Annotated[bool, typer.Option("--force", help="Promote a refused version; needs --why.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Move a version to a stage."""
    from textmill.console import output
    from textmill.ground.errors import UserError
    from textmill.registry.model_registry import STAGES

    if stage not in STAGES:
        raise UserError(f"There is no stage '{stage}'; choose one of {', '.join(STAGES)}.")
    if force and not why:
        raise UserError("--force needs a reason; add --why 'REASON'.")
    registry = project_of(config).registry
    if version is None:
        staged = registry.resolve("Staging")
        if staged is None:
            raise UserError(f"No version of '{registry.name}' is in Staging; name one: textmill promote VERSION.")
        version = staged.number
    move = registry.promote(version, why or "promoted by hand", stage, force)
    output.done(f"Version {move.version}", f"{move.former} -> {move.stage}")
    if registry.version(version).stage != stage:
        output.say("Somebody else has moved it since; see 'textmill history'.")


def rollback(why: Why = "rolled back by hand", config: ConfigFile = DEFAULT) -> None:
    """Put the former Production version back; again, and the one before that."""
    from textmill.console import output

    registry = project_of(config).registry
    move = registry.rollback(why)
    output.done(f"Version {move.version}", f"{move.former} -> {move.stage}")
    if move.undoes:
        output.say(f"Version {move.undoes} is out of Production; a rollback does not bring it back, 'promote' does.")
    further = registry.former_production()
    output.say(f"Rolling back again restores version {further.number}." if further else "Nothing lies further back.")


def history(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Show the promotion log: who moved which version where, when and why."""
    from textmill.commands import history

    history.history(project_of(config), as_json)


def mirror(config: ConfigFile = DEFAULT) -> None:
    """Mirror moves made in MLflow's page to stages, aliases and the log, until Ctrl-C."""
    import threading

    from textmill.console import output
    from textmill.local_servers.stage_mirror import EVERY_S, sentence
    from textmill.registry.reconciler import Reconciler

    registry = project_of(config).registry
    registry.check()
    output.say(f"Mirroring the moves that are made in MLflow's page for '{registry.name}'; Ctrl-C stops it.")
    Reconciler(registry, lambda move: output.say(sentence(move))).run(EVERY_S, threading.Event())


def download(
    to: Annotated[Path, typer.Option(help="The folder to write: absent, or empty.")],
    version: Annotated[int | None, typer.Argument(help="The version; the one in Production if left out.")] = None,
    form: Annotated[str, typer.Option(help="bundle, hugging-face or gpt-2-simple.")] = "bundle",
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a version to a folder, in the form that other programs read."""
    from textmill.commands import download
    from textmill.console import output

    written = download.download(project_of(config), version, to, form)
    output.done(f"Version {written.number}", f"{to} has it as a {form} directory")
