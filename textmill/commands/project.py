"""`textmill init`, and what a configuration file stands for: its store, its registry, its logs."""

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

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show everything that TFX, Scrapy and TensorFlow print.")]
Why = Annotated[str, typer.Option(help="The reason, kept in the promotion log.")]
SnapshotNumber = Annotated[int | None, typer.Option(help="A recorded snapshot; the store as it is now if left out.")]

_KEEP_LOGS = 20  # of each kind


def init(
    start: Annotated[str, typer.Argument(metavar="URL", help="Where the site starts: a page, a feed or a sitemap.")],
    name: Annotated[str, typer.Option(help="Name of the model; the site's host name if left out.")] = "",
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a commented textmill.yaml for a site."""
    from textmill.settings import yaml_file as configuration

    chosen = configuration.write_template(config, start, name)
    typer.echo(f"{config} is written: the model's name is '{chosen}'. Next: textmill up")


@dataclass(frozen=True, slots=True)
class Project:
    """One configuration file and what it says."""

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
        """A fresh log file for one step; the oldest of its kind go."""
        from textmill.local_servers import servers

        path = servers.log_of(self.config.data_dir, f"{step}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        for old in sorted(path.parent.glob(f"{step}-*.log"))[: -_KEEP_LOGS + 1]:
            old.unlink(missing_ok=True)
        return path


def project_of(config: Path, verbose: bool = False) -> Project:
    """The project of a configuration file."""
    return Project.load(config, verbose)


def take_snapshot(project: Project) -> Snapshot:
    """Record what the store holds now, for a run to learn from.

    Raises:
        UserError: it holds nothing.
    """
    snapshot = project.store.take_snapshot(project.config.learned_sources)
    if not snapshot.articles:
        raise UserError("The store holds no article to learn from; crawl first with 'textmill crawl'.")
    return snapshot
