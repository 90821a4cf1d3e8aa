"""Write one article, without a server."""

import secrets
from pathlib import Path

from textmill.commands.project import Project
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference import engine as inference
from textmill.ground.errors import UserError


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
    """A bundle's folder that the user named, its files verified; UserError where they are not what they were."""
    bundle.verify(directory)
    return directory


def write(directory: Path, topic: str, tokens: int, temperature: float | None, seed: int | None) -> str:
    """An article, with its title, by the model in a bundle's folder."""
    engine = inference.Engine(directory, slots=1)
    settings = {
        "max_tokens": tokens,
        "temperature": temperature,
        "seed": secrets.randbits(31) if seed is None else seed,
    }
    return inference.write(engine, topic, **settings)
