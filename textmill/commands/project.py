"""`textmill init`, and the project of a configuration file: its store, registry and logs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textmill.ground.errors import UserError

if TYPE_CHECKING:
    from textmill.articles.snapshot import Snapshot
    from textmill.articles.store import ArticleStore
    from textmill.local_servers import servers
    from textmill.registry.model_registry import ModelRegistry
    from textmill.settings.config import Config


DEFAULT = Path("textmill.yaml")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show everything that TFX, Scrapy and TensorFlow print.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; docs/runs.md lists its keys.")]
Why = Annotated[str, typer.Option(help="Reason to record in the promotion log.")]
SnapshotNumber = Annotated[int | None, typer.Option(help="Number of a snapshot; a new one of the store if left out.")]

_KEEP_LOGS = 20  # of each kind


def init(
    start: Annotated[str, typer.Argument(metavar="URL", help="URL to start from: a page, a feed or a sitemap.")],
    name: Annotated[str, typer.Option(help="Name of the model; the site's host name if left out.")] = "",
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a commented textmill.yaml for a site."""
    from textmill.settings import yaml_file as configuration

    chosen = configuration.write_template(config, start, name)
    typer.echo(f"{config} is written; the model's name is '{chosen}'. Next: textmill up")


@dataclass(frozen=True, slots=True)
class Project:
    """One configuration file and its settings."""

    file: Path
    config: Config
    verbose: bool = False

    @classmethod
    def load(cls, file: Path, verbose: bool = False) -> Project:
        from textmill.settings import yaml_file as configuration

        return cls(file.absolute(), configuration.load(file), verbose)

    @property
    def addresses(self) -> servers.Addresses:
        from textmill.local_servers import servers

        return servers.addresses(self.config.data_dir)

    @property
    def registry(self) -> ModelRegistry:
        from textmill.local_servers import servers
        from textmill.registry.model_registry import ModelRegistry

        return ModelRegistry(servers.tracking_address(self.config.data_dir), self.config.name)

    @property
    def store(self) -> ArticleStore:
        from textmill.articles.store import ArticleStore
        from textmill.local_servers import servers

        return ArticleStore.connect(servers.store_address(self.config.data_dir), self.config.store.database)

    def log(self, step: str) -> Path:
        """A new log file for one step; the oldest logs of that step are deleted."""
        from textmill.local_servers import servers

        path = servers.log_of(self.config.data_dir, f"{step}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        for old in sorted(path.parent.glob(f"{step}-*.log"))[: -_KEEP_LOGS + 1]:
            old.unlink(missing_ok=True)
        return path


def project_of(config: Path, verbose: bool = False) -> Project:
    """The project of a configuration file."""
    return Project.load(config, verbose)


def take_snapshot(project: Project) -> Snapshot:
    """Take a snapshot of the store for a run to train on.

    Raises:
        UserError: the store holds no article of the sources.
    """
    snapshot = project.store.take_snapshot(project.config.learned_sources)
    if not snapshot.articles:
        raise UserError("The store holds no article to train on; crawl first with 'textmill crawl'.")
    return snapshot
