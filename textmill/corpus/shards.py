"""An artifact's shards: its facts name each with its count and its digest, and no other file of the folder is read.

A folder may hold files of an earlier life: pipeline metadata that was lost counts executions from 1 again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.corpus import tfrecords
from textmill.ground.errors import TextmillError

FACTS_FILE = "facts.json"  # a step's facts, inside its artifact
_CURE = "write it again with 'textmill run --from ExportArticles'"  # what is made of it follows

Listing = dict[str, dict[str, Any]]  # of one split: name -> records and sha256, as facts.json holds it


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of TFRecords, as the facts of its artifact describe it."""

    path: Path
    records: int
    sha256: str

    @classmethod
    def written(cls, path: Path, records: int) -> "Shard":
        """A file that has just been written, with so many records in it."""
        return cls(path, records, _sha256(path))

    def check(self) -> Path:
        """The file, once its digest has been compared.

        Raises:
            TextmillError: it is absent, or another one.
        """
        if not self.path.is_file():
            raise _wrong(self.path, "is missing")
        if _sha256(self.path) != self.sha256:
            raise _wrong(self.path, f"is not the file that {FACTS_FILE} beside it names")
        return self.path

    def read(self) -> Iterator[bytes]:
        """Stream the records of the file, checked and counted.

        Raises:
            TextmillError: as `check`, or it holds more or fewer records.
        """
        count = 0
        for count, record in enumerate(tfrecords.read_records(self.check()), start=1):  # noqa: B007
            yield record
        if count != self.records:
            raise _wrong(self.path, f"holds {count} records where {FACTS_FILE} says {self.records}")


def listing(shards: Iterable[Shard]) -> Listing:
    """Shards of one split as facts.json holds them."""
    return {shard.path.name: {"records": shard.records, "sha256": shard.sha256} for shard in shards}


def of_split(split: Path) -> list[Shard]:
    """The shards of a split's folder that the facts beside it name, in the order of their names.

    Raises:
        TextmillError: the facts are absent, or name none.
    """
    try:
        facts = json.loads((split.parent / FACTS_FILE).read_text(encoding="utf-8"))
        listed: Listing = facts["shards"][split.name.removeprefix("Split-")]
        return [Shard(split / name, each["records"], each["sha256"]) for name, each in sorted(listed.items())]
    except (OSError, ValueError, KeyError, TypeError):
        raise _wrong(split, f"has no {FACTS_FILE} beside it that names its files") from None


def facts_digest(artifact: Path) -> str:
    """SHA-256 of an artifact's facts, and so of all that it holds; the pipeline's metadata records it."""
    return _sha256(artifact / FACTS_FILE)


def check_facts(artifact: Path, recorded: str) -> Path:
    """The artifact, once its facts have been compared with the digest that the pipeline's metadata recorded.

    Args:
        recorded: empty where nothing was recorded.

    Raises:
        TextmillError: the folder has been written again since, by a run that this metadata does not know.
    """
    if recorded and (not (artifact / FACTS_FILE).is_file() or facts_digest(artifact) != recorded):
        raise _wrong(artifact, "is not what the pipeline's metadata recorded")
    return artifact


def _wrong(path: Path, problem: str) -> TextmillError:
    return TextmillError(f"{path} {problem}; {_CURE}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
