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


def load(directory: Path, identity: ModelIdentity, *, slots: int, threads: int, waiting: int) -> ServedModel:
    """Load a bundle that has been verified.

    Raises:
        UserError: ONNX Runtime refuses the graph.
    """
    engine = Engine(directory, slots, threads, waiting)
    return ServedModel(identity, engine, bundle.read_json(directory, bundle.LINEAGE))
