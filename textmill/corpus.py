"""From a snapshot of articles to token windows: what ExportArticles and Preprocess call."""

from collections.abc import Iterator
from pathlib import Path

from textmill import exported
from textmill.content_cache import Cache
from textmill.export import FACTS_FILE, SPLITS, ExportFacts, OpenStore, export_articles, split_of
from textmill.preprocess import TOKENIZER_FILE, WINDOWED, preprocess, tokenizer_sample, windows_of

__all__ = [
    "FACTS_FILE",
    "SPLITS",
    "TOKENIZER_FILE",
    "WINDOWED",
    "Cache",
    "ExportFacts",
    "OpenStore",
    "export_articles",
    "preprocess",
    "read_articles",
    "split_of",
    "tokenizer_sample",
    "windows_of",
]


def read_articles(split: Path) -> Iterator[tuple[str, str]]:
    """Stream (title, text) of the articles in one exported split, in the order of its files."""
    return ((article.title, article.text) for article in exported.read(split))
