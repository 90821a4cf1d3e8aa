"""What several commands take, and the project that their `--config` names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from textmill.commands.project import Project

DEFAULT = Path("textmill.yaml")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show everything that TFX, Scrapy and TensorFlow print.")]
Why = Annotated[str, typer.Option(help="The reason, kept in the promotion log.")]
SnapshotNumber = Annotated[int | None, typer.Option(help="A recorded snapshot; the store as it is now if left out.")]


def project_of(config: Path, verbose: bool = False) -> "Project":
    """The project of a configuration file."""
    from textmill.commands.project import Project

    return Project.load(config, verbose)
