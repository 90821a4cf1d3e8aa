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


def read(split: Path) -> Iterator[Exported]:
    """Stream the articles of one exported split, in the order of its files."""
    for file in records.record_files(split):
        for record in records.read_records(file):
            yield Exported(*(records.text_feature(record, name) for name in Exported._fields))
