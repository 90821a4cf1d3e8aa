"""What a run depends on, looked up once when it starts."""

import secrets

from pipeline.parameters import Resolved
from textmill.articles import store
from textmill.ground import environment
from textmill.registry.model_registry import ModelRegistry
from textmill.settings.config import Config
from textmill.training.bases import resolving


def resolve(config: Config, snapshot: int) -> Resolved:
    """Look up what the run depends on: the snapshot, the Production version, the registry and the base.

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
        base=resolving.resolve(config, registry),
        run=f"{environment.run_name()} {secrets.token_hex(4)}",
    )
