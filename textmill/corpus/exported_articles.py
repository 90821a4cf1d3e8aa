"""Articles as ExportArticles wrote them: streamed from a split's folder, without Beam."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from textmill.corpus import shards, tfrecords


class Exported(NamedTuple):
    """One exported article."""

    url: str
    source: str
    title: str
    text: str


def of_record(record: bytes) -> Exported:
    """The article that a serialised tf.Example holds."""
    return Exported(*tfrecords.text_features(record, Exported._fields))


def read(split: Path) -> Iterator[Exported]:
    """Stream the articles of one exported split, in the order of the files that its facts name."""
    for shard in shards.of_split(split):
        yield from map(of_record, shard.read())


def read_articles(split: Path) -> Iterator[tuple[str, str]]:
    """Stream (title, text) of the articles in one exported split, in the order of its files."""
    return ((article.title, article.text) for article in read(split))
