"""Articles as ExportArticles wrote them: streamed from a split's folder, without Beam."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from textmill import records


class Exported(NamedTuple):
    """One exported article."""

    url: str
    source: str
    title: str
    text: str


def of_record(record: bytes) -> Exported:
    """The article that a serialised tf.Example holds."""
    return Exported(*records.text_features(record, Exported._fields))


def read(split: Path) -> Iterator[Exported]:
    """Stream the articles of one exported split, in the order of its files."""
    for file in records.record_files(split):
        yield from map(of_record, records.read_records(file))
