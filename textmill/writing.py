"""Write one article with the version in the configured stage, without a server."""

import secrets

from textmill.errors import UserError
from textmill.gpt2 import inference
from textmill.steps import Project


def write(project: Project, topic: str, tokens: int, temperature: float | None, seed: int | None) -> str:
    """The article, with its title.

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
    directory = registry.download(version, config.data_dir / "models")
    engine = inference.Engine(directory, slots=1)
    settings = {
        "max_tokens": tokens,
        "temperature": temperature,
        "seed": secrets.randbits(31) if seed is None else seed,
    }
    return inference.write(engine, topic, **settings)
