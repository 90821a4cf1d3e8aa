"""An artifact's shards, listed in its facts with count and digest; other files are ignored.

A folder can contain files from earlier metadata: after a loss, executions count from 1 again.
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
    """One file of TFRecords, as described in its artifact's facts."""

    path: Path
    records: int
    sha256: str

    @classmethod
    def written(cls, path: Path, records: int) -> "Shard":
        """Describe a newly written file with this number of records."""
        return cls(path, records, _sha256(path))

    def check(self) -> Path:
        """The file, after its digest was verified.

        Raises:
            TextmillError: the file is absent or differs.
        """
        if not self.path.is_file():
            raise _wrong(self.path, "is missing")
        if _sha256(self.path) != self.sha256:
            raise _wrong(self.path, f"differs from the digest in {FACTS_FILE}")
        return self.path

    def read(self) -> Iterator[bytes]:
        """Stream the file's records; verify and count them.

        Raises:
            TextmillError: as `check`, or the number of records differs.
        """
        count = 0
        for count, record in enumerate(tfrecords.read_records(self.check()), start=1):  # noqa: B007
            yield record
        if count != self.records:
            raise _wrong(self.path, f"has {count} records, but {FACTS_FILE} says {self.records}")


def listing(shards: Iterable[Shard]) -> Listing:
    """One split's shards in the form of facts.json."""
    return {shard.path.name: {"records": shard.records, "sha256": shard.sha256} for shard in shards}


def of_split(split: Path) -> list[Shard]:
    """The shards of a split's folder listed in its facts, in the order of their names.

    Raises:
        TextmillError: the facts are absent or list no shard.
    """
    try:
        facts = json.loads((split.parent / FACTS_FILE).read_text(encoding="utf-8"))
        listed: Listing = facts["shards"][split.name.removeprefix("Split-")]
        return [Shard(split / name, each["records"], each["sha256"]) for name, each in sorted(listed.items())]
    except (OSError, ValueError, KeyError, TypeError):
        raise _wrong(split, f"has no {FACTS_FILE} that lists its files") from None


def facts_digest(artifact: Path) -> str:
    """SHA-256 of an artifact's facts, and so of its content. The pipeline's metadata records it."""
    return _sha256(artifact / FACTS_FILE)


def check_facts(artifact: Path, recorded: str) -> Path:
    """The artifact, after its facts were verified against the digest in the pipeline's metadata.

    Args:
        recorded: the digest in the metadata; empty if none.

    Raises:
        TextmillError: the folder was overwritten by a run that is not in this metadata.
    """
    if recorded and (not (artifact / FACTS_FILE).is_file() or facts_digest(artifact) != recorded):
        raise _wrong(artifact, "differs from the digest in the pipeline's metadata")
    return artifact


def _wrong(path: Path, problem: str) -> TextmillError:
    return TextmillError(f"{path} {problem}; {_CURE}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
