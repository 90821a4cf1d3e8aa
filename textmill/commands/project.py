"""`textmill init`, and the project of a configuration file: its store, registry and logs."""

from __future__ import annotations

import json
import subprocess
import sys
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
_LOOK_WITHIN_S = 40  # at the site


def init(
    start: Annotated[str, typer.Argument(metavar="URL", help="URL to start from: a page, a feed or a sitemap.")],
    name: Annotated[str, typer.Option(help="Name of the model; the site's host name if left out.")] = "",
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a commented textmill.yaml for a site, and look at what the site has."""
    from textmill.settings import yaml_file as configuration

    chosen = configuration.write_template(config, start, name)
    typer.echo(_looked_at(configuration.load(config).sources[0].start))
    typer.echo(f"{config} is written; the model's name is '{chosen}'. Next: textmill up")


def _looked_at(url: str) -> str:
    """One look at the site, as a sentence on what was found."""
    command = [sys.executable, "-P", "-m", "scraper.spiders.survey", url]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_LOOK_WITHIN_S, check=True)
        found = json.loads(ran.stdout)
    except subprocess.TimeoutExpired:
        found = {"problem": f"no answer within {_LOOK_WITHIN_S} s"}
    except (subprocess.CalledProcessError, ValueError):
        return f"{url} was not looked at: the crawler did not start; 'textmill doctor' says what is missing."
    if found["problem"]:
        return f"{url} cannot be read now ({found['problem']}); check it before 'textmill crawl'."
    parts = [f'"{found["title"]}"'] if found["title"] else []
    parts += [f"{what} {found[what]}" for what in ("feed", "sitemap") if found[what]]
    pages = found["articles"]
    parts.append(
        f"about {pages:,} page{'' if pages == 1 else 's'} that may be articles" if pages else "no links to articles"
    )
    return f"Found {', '.join(parts)}."


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
        for old in sorted(path.parent.glob(f"{step}-*.log"))[:-_KEEP_LOGS]:
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
