"""What a training starts from, settled once when a run starts and handed to its steps."""

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
    """A model on this machine to go on from, or none.

    It travels as a parameter of the steps that use it, so that a changed base is no cache hit.
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
        """Whether there is none."""
        return self.architecture is None

    def lineage(self) -> dict[str, Any]:
        """What the model that is trained from it shall say of it: no path of this machine."""
        if self.from_scratch:
            return {"name": self.name}
        return {"name": self.name, "form": self.form, "digest": self.digest, "version": self.version}

    def read(self, window: int) -> Checkpoint | None:
        """The base's model with its first `window` positions, or None where training starts from scratch.

        Raises:
            UserError: its files are no longer those that the run started with, or cannot be read.
        """
        if self.from_scratch:
            return None
        found = checkpoint.describe(Path(self.directory))
        if found.digest() != self.digest:
            raise UserError(f"The base at {self.directory} has changed since this run started; start the run again.")
        return checkpoint.read(Path(self.directory)).with_window(window)


SCRATCH = Base(SCRATCH_NAME)
