"""Export and import articles as files: a folder, S3 or Google Cloud Storage, through fsspec.

JSON lines have all fields of an article, one object a line. Text files have a title, an empty line and the text, with a
line `<|endoftext|>` between articles. Both are split into gzipped files. The manifest with their checksums is written
last, so a copy with a manifest is complete.
"""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from itertools import chain, islice
from typing import Any

from fsspec import AbstractFileSystem

from textmill.articles.article import Article
from textmill.articles.file_system import filesystem
from textmill.articles.imported_files import MANIFEST
from textmill.articles.selection import Selection
from textmill.articles.snapshot import Snapshot
from textmill.articles.store import ArticleStore
from textmill.gpt2.document import document
from textmill.gpt2.tokenizer import END

FORMS = ("jsonl", "text")
_ARTICLES_A_FILE = 10_000
_BATCH = 200


def write(
    store: ArticleStore, snapshot: Snapshot, selection: Selection | None, uri: str, form: str
) -> tuple[dict[str, Any], bool]:
    """Export a snapshot's articles to a URI. A complete export of the same articles is left unchanged.

    Args:
        selection: filters articles as for training, except duplicates; None: export all.

    Returns:
        The manifest, and whether this call wrote it.
    """
    with filesystem(uri) as (files, path):
        manifest: dict[str, Any] = {"snapshot": snapshot.number, "digest": snapshot.digest, "form": form}
        manifest["selection"] = json.loads(selection.to_json()) if selection else None
        place = f"{path.rstrip('/')}/{MANIFEST}"
        if files.exists(place) and (former := json.loads(files.cat_file(place))).items() >= manifest.items():
            return former, False
        files.makedirs(path, exist_ok=True)
        left_out: Counter[str] = Counter()
        articles = _selected(store.read(snapshot), selection, left_out)
        manifest["files"] = list(_parts(files, path, articles, form))
        manifest |= {"articles": sum(each["articles"] for each in manifest["files"]), "left_out": dict(left_out)}
        files.pipe_file(place, json.dumps(manifest, indent=1).encode())
        return manifest, True


def _selected(articles: Iterable[Article], selection: Selection | None, left_out: Counter[str]) -> Iterator[Article]:
    for article in articles:
        reason = selection.refusal(article) if selection else None
        if reason:
            left_out[reason] += 1
        else:
            yield article


def _parts(files: AbstractFileSystem, path: str, articles: Iterator[Article], form: str) -> Iterator[dict[str, Any]]:
    suffix, encode = {"jsonl": ("jsonl", _line), "text": ("txt", _text)}[form]
    number = 0
    while first := next(articles, None):
        name = f"part-{number:05d}.{suffix}.gz"
        yield _part(files, path, name, chain([first], islice(articles, _ARTICLES_A_FILE - 1)), encode)
        number += 1


def _part(
    files: AbstractFileSystem, path: str, name: str, articles: Iterable[Article], encode: Callable[[Article], str]
) -> dict[str, Any]:
    """Write one file and return its facts. Equal articles give equal bytes."""
    count = 0
    with files.open(f"{path.rstrip('/')}/{name}", "wb") as raw:
        hashing = _Hashing(raw)
        with gzip.GzipFile("", "wb", 6, hashing, mtime=0) as file:
            for article in articles:
                file.write(encode(article).encode())
                count += 1
    return {"name": name, "articles": count, "bytes": hashing.size, "sha256": hashing.digest.hexdigest()}


class _Hashing:
    """A file that counts and hashes the bytes written to it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.digest.update(data)
        return int(self._file.write(data))

    def flush(self) -> None:
        self._file.flush()


def _line(article: Article) -> str:
    """The article as a line of JSON."""
    known = {name: value for name, value in asdict(article).items() if value is not None}
    return json.dumps(known, ensure_ascii=False, default=datetime.isoformat) + "\n"


def _text(article: Article) -> str:
    """The article as text, ending with a line of the end token. Such a line inside the article is indented."""
    lines = document(article.title, article.text).split("\n")
    return "\n".join(f" {line}" if line.strip() == END else line for line in lines) + f"\n{END}\n"


def bring_in(store: ArticleStore, articles: Iterator[Article], configured: Iterable[str]) -> Counter[str]:
    """Store articles in batches. Articles already in the store change nothing.

    Returns:
        Numbers of new, changed, unchanged and forgotten articles, and `source:NAME` for each source.
    """
    counts: Counter[str] = Counter()
    while batch := list(islice(articles, _BATCH)):
        counts.update(asdict(store.upsert(batch, list(configured))))
        counts.update(f"source:{article.source}" for article in batch)
    return counts
