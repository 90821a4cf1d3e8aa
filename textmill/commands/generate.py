"""`textmill generate`: generate one article without a server."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textmill.commands.project import DEFAULT, ConfigFile, project_of
from textmill.ground.errors import UserError

if TYPE_CHECKING:
    from textmill.commands.project import Project


def generate(
    topic: Annotated[str, typer.Argument(help="Title of the article.")],
    tokens: Annotated[int, typer.Option(min=1, help="Maximum length in tokens.")] = 200,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=10, help="0: always the likeliest token; the model's own if left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same text.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Use the model in this folder instead.")] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Generate one article with the Production version and print it."""

    model = checked(bundle) if bundle else fetch(project_of(config))
    typer.echo(write(model, topic, tokens, temperature, seed))


def fetch(project: Project) -> Path:
    """The bundle of the version in the configured stage.

    Raises:
        UserError: no version is in the stage.
    """
    config = project.config
    registry = project.registry
    version = registry.resolve(config.serve.stage)
    if version is None:
        raise UserError(
            f"No version of '{config.name}' is in stage '{config.serve.stage}'. "
            f"Promote one with 'textmill promote VERSION'."
        )
    return registry.download(version, config.data_dir / "models")


def checked(directory: Path) -> Path:
    """The folder of a bundle, with its files verified; UserError if one is damaged."""
    from textmill.gpt2.formats import bundle

    bundle.verify(directory)
    return directory


def write(directory: Path, topic: str, tokens: int, temperature: float | None, seed: int | None) -> str:
    """Generate an article, title included, with the model in a bundle's folder."""
    from textmill.gpt2.inference import engine as inference

    engine = inference.Engine(directory, slots=1)
    settings = {
        "max_tokens": tokens,
        "temperature": temperature,
        "seed": secrets.randbits(31) if seed is None else seed,
    }
    return inference.write(engine, topic, **settings)
