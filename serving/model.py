"""The model that a server has loaded, and its name in the registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.schemas import ModelIdentity
from textmill.gpt2 import bundle
from textmill.gpt2.inference import Engine


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One immutable version, ready to write."""

    identity: ModelIdentity
    engine: Engine
    lineage: dict[str, Any]


def load(
    directory: Path, name: str, version: int | None, stage: str | None, *, slots: int, threads: int, waiting: int
) -> ServedModel:
    """Verify a bundle and load it.

    Raises:
        UserError: a file is missing or damaged, or ONNX Runtime refuses the graph.
    """
    identity = ModelIdentity(name=name, version=version, stage=stage, checksum=bundle.verify(directory))
    engine = Engine(directory, slots, threads, waiting)
    return ServedModel(identity, engine, bundle.read_json(directory, bundle.LINEAGE))
