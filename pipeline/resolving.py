"""What a run depends on, looked up once when it starts."""

from pathlib import Path

import textmill
from pipeline.parameters import Resolved
from textmill.articles import store
from textmill.ground import environment
from textmill.ground.files import hash_of_sources
from textmill.registry.model_registry import ModelRegistry
from textmill.settings.config import Config
from textmill.training.bases import resolving


def resolve(config: Config, snapshot: int) -> Resolved:
    """Look up what the run depends on: the snapshot, the Production version, the registry, the code and the base.

    A base that is not on this machine is fetched.
    """
    taken = store.article_store(config.store.database).snapshot(snapshot)
    registry = ModelRegistry(environment.address(environment.MLFLOW), config.name)
    production = registry.resolve("Production")
    return Resolved(
        snapshot=taken.number,
        digest=taken.digest,
        production=production.number if production else 0,
        production_checksum=production.checksum if production else "",
        registry=registry.identity(),
        code=hash_of_sources(Path(textmill.__file__).parent),
        base=resolving.resolve(config, registry),
    )
