"""`textmill promote` and `textmill rollback`: versions moved from stage to stage."""

from typing import Annotated

import typer

from textmill.commands.project import DEFAULT, ConfigFile, Why, project_of


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

    stage = next((known for known in STAGES if known.lower() == stage.lower()), stage)
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
    move = registry.promote(version, why, stage, force)
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
