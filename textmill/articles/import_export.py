"""Export and import articles as files: a folder, S3 or Google Cloud Storage, through fsspec.

JSON lines have all fields of an article, one object a line. Text files have a title, an empty line and the text, with a
line `<|endoftext|>` between articles. Both are split into gzipped files. The manifest with their checksums is written
last, so a copy with a manifest is complete.
"""

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from isal import isal_zlib

from textmill.articles.article import Article, now
from textmill.articles.selection import Selection
from textmill.articles.snapshot import Snapshot
from textmill.articles.store import ArticleStore
from textmill.gpt2.document import document
from textmill.gpt2.tokenizer import END
from textmill.ground.errors import UserError

MANIFEST = "manifest.json"
FORMS = ("jsonl", "text")
_ARTICLES_A_FILE = 10_000
_BATCH = 200
_LARGEST = 12_000_000  # bytes of an article; MongoDB takes documents of 16 MiB
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # protocols and the extras that bring them
# fsspec decompresses by isal, which is installed with it, where Python's own errors are zlib's
_FAILURES: tuple[Any, ...] = (OSError, EOFError, zlib.error, isal_zlib.error)
_CLIENTS = {"aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "s3fs"}  # packages that talk to object stores
_SUFFIXES = (".jsonl", ".txt", ".text", ".md")
_TIMES = ("fetched", "published")


@contextmanager
def filesystem(uri: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """Context manager: the file system and the path of a URI.

    Raises:
        UserError: no installed package supports the URI, or the block failed to read or write.
    """
    protocol = uri.partition("://")[0] if "://" in uri else "file"
    try:
        files, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        cure = f"run pip install 'textmill[{extra}]'" if extra else str(error)
        raise UserError(f"{protocol}:// needs a package that is not installed; {cure}.") from error
    except ValueError as error:
        raise UserError(f"'{uri}' is not a valid location ({error}); give a folder, s3:// or gs://.") from error
    try:
        yield files, path
    except Exception as error:
        # of object stores' packages, most errors are OSErrors; those of credentials and addresses are their clients' own
        if not isinstance(error, _FAILURES) and _package(error) not in _CLIENTS:
            raise
        raise UserError(
            f"{uri} cannot be read or written ({type(error).__name__}: {error}); check that it exists and that you have access."
        ) from error


def _package(error: Exception) -> str:
    return type(error).__module__.partition(".")[0]


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


def read(uri: str, source: str) -> Iterator[Article]:
    """Stream the articles of a file, a folder of files or a URI.

    Args:
        source: the source's name for articles without one.

    Raises:
        UserError: a file is missing or has another format; the message names file and line.
    """
    with filesystem(uri) as (files, path):
        names = _names(files, path, uri)
        if not names:
            raise UserError(
                f"{uri} has no file that ends in {', '.join(_SUFFIXES)} (or with .gz added); name another folder."
            )
        for name in names:
            shown = PurePosixPath(name).name
            with files.open(name, "rt", encoding="utf-8", compression="infer", newline="\n") as file:
                lines = _decoded(file, shown)
                reader = _from_lines if ".jsonl" in shown else _from_text
                yield from reader(lines, shown, source)


def _names(files: AbstractFileSystem, path: str, uri: str) -> list[str]:
    if not files.exists(path):
        raise UserError(f"{uri} does not exist; name a file, a folder, or the URI of one.")
    if not files.isdir(path):
        return [path]
    return [name for name in sorted(files.find(path)) if name.removesuffix(".gz").endswith(_SUFFIXES)]


def _decoded(file: Iterable[str], name: str) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not UTF-8 text ({error.reason} at byte {error.start}); convert it first."
        ) from error


def _from_lines(lines: Iterable[str], name: str, source: str) -> Iterator[Article]:
    known = {field.name for field in fields(Article)}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = {key: value for key, value in json.loads(line).items() if key in known and value is not None}
            values |= {key: _time(values[key]) for key in _TIMES if key in values}
            values = {
                "url": f"import:{source}/{name}#{number}",
                "source": source,
                "title": "",
                "fetched": now(),
            } | values
            if not all(isinstance(values[key], str) for key in ("url", "source", "title", "text")):
                raise ValueError("url, source, title and text must be strings")
            yield Article(**values)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"{name}, line {number}: not an article ({error}); write an object with a 'text'."
            ) from error


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _from_text(lines: Iterable[str], name: str, source: str) -> Iterator[Article]:
    part: list[str] = []
    number = 0
    for line in chain(lines, [END]):
        if line.rstrip("\r\n") != END:
            part.append(line.rstrip("\r\n"))
            continue
        title, text = _title_and_text("\n".join(part), PurePosixPath(name).name.partition(".")[0])
        part = []
        if len(text.encode()) > _LARGEST:
            raise UserError(
                f"{name} has an article of {len(text):,} characters, more than the store can hold; "
                f"put a line {END} between its articles."
            )
        if text:
            number += 1
            yield Article(f"import:{source}/{name}#{number}", source, title, text, now())


def _title_and_text(whole: str, name: str) -> tuple[str, str]:
    """The title: the first line if an empty line follows it, otherwise the file's name."""
    first, _, rest = whole.strip("\n").partition("\n")
    if rest.startswith("\n") and rest.strip():
        return first.strip(), rest.strip("\n")
    return name, whole.strip("\n") if whole.strip() else ""


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
