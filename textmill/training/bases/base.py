"""The base model of a training, resolved once when a run starts."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import checkpoint
from textmill.gpt2.formats.checkpoint import Checkpoint
from textmill.ground.errors import UserError

SCRATCH_NAME = "scratch"


@dataclass(frozen=True, slots=True)
class Base:
    """A local model to continue from, or none.

    It is a parameter of the pipeline's steps, so that a changed base invalidates their cache.
    """

    name: str  # as the configuration has it; of a directory, its last two parts
    form: str = ""  # one of `checkpoint`'s
    digest: str = ""  # of its files; a bundle's is its checksum
    version: int = 0  # of this model in MLflow, where it is one
    directory: str = ""
    architecture: Architecture | None = None

    @classmethod
    def from_json(cls, text: str) -> "Base":
        values: dict[str, Any] = json.loads(text)
        shape = values.pop("architecture")
        return cls(**values, architecture=Architecture(**shape) if shape else None)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def from_scratch(self) -> bool:
        """Whether there is no base."""
        return self.architecture is None

    def lineage(self) -> dict[str, Any]:
        """The base's description in the trained model's lineage, without local paths."""
        if self.from_scratch:
            return {"name": self.name}
        return {"name": self.name, "form": self.form, "digest": self.digest, "version": self.version}

    def read(self, window: int) -> Checkpoint | None:
        """Read the base's model with its first `window` positions; None for training from scratch.

        Raises:
            UserError: its files changed since the run started, or cannot be read.
        """
        if self.from_scratch:
            return None
        found = checkpoint.describe(Path(self.directory))
        if found.digest() != self.digest:
            raise UserError(f"The base at {self.directory} changed since this run started; start the run again.")
        return checkpoint.read(Path(self.directory)).with_window(window)


SCRATCH = Base(SCRATCH_NAME)
