"""Read articles from files of other makers, told by their content and not by their names.

JSON lines, JSON arrays, Parquet and text, also in gzip, bzip2 or zstd. Records may name their fields as Dolma, RedPajama,
OSCAR, FineWeb and C4 do.
"""

import bz2
import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from fsspec import AbstractFileSystem

from textmill.articles.article import Article, now
from textmill.articles.file_system import filesystem
from textmill.gpt2.tokenizer import END
from textmill.ground.errors import UserError

MANIFEST = "manifest.json"
_LARGEST = 12_000_000  # bytes of an article; MongoDB takes documents of 16 MiB
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".warc", ".txt", ".text", ".md")
_PACKED = (".gz", ".bz2", ".zst", ".zstd")
_HEAD = 4096  # bytes that tell a file's form
_TIMES = ("fetched", "published")
_STRINGS = frozenset(("url", "source", "title", "text", "author", "language", "robots", "licence", "reserved"))
_LIST = re.compile(rb"\[\s*\{")
_SURROGATES = re.compile("[\ud800-\udfff]+")
# by our field: where else its value may stand, each as a path
_ELSEWHERE = {
    "text": ("content", "raw_content"),
    "url": ("metadata.url", "meta.url", "metadata.warc_url", "warc_headers.warc-target-uri"),
    "title": ("metadata.title", "meta.title"),
    "licence": ("license", "metadata.license", "meta.license"),
    "language": ("lang", "metadata.language", "metadata.identification.label", "meta.language"),
    "fetched": ("timestamp", "date", "warc_headers.warc-date", "meta.timestamp", "metadata.date"),
}
_OPTIONAL = ("language", "fetched", "title", "licence")  # read from elsewhere only if they are what we mean


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
                f"{uri} has no file that ends in {', '.join(_SUFFIXES)} (or with .gz, .bz2 or .zst added); "
                "name another folder."
            )
        for name in names:
            # within a folder, files of the same name are told apart by their path
            shown = (
                str(PurePosixPath(name).relative_to(PurePosixPath(path))) if name != path else PurePosixPath(name).name
            )
            with files.open(name, "rb") as raw:
                file = io.BufferedReader(cast(io.RawIOBase, _unpacked(raw, shown)), 1 << 16)
                if name == path or _holds_articles(file.peek(_HEAD), shown):
                    yield from _articles(file, shown, source)


def _names(files: AbstractFileSystem, path: str, uri: str) -> list[str]:
    if not files.exists(path):
        raise UserError(f"{uri} does not exist; name a file, a folder, or the URI of one.")
    if not files.isdir(path):
        return [path]
    return [name for name in sorted(files.find(path)) if _is_ours(PurePosixPath(name))]


def _is_ours(path: PurePosixPath) -> bool:
    plain = path.with_suffix("") if path.suffix in _PACKED else path
    return plain.suffix in _SUFFIXES and path.name != MANIFEST


def _unpacked(raw: BinaryIO, name: str) -> BinaryIO:
    """The file's content without its compression."""
    head = raw.read(4)
    raw.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if head.startswith(b"BZh"):
        return cast(BinaryIO, bz2.BZ2File(raw))
    if head == b"\x28\xb5\x2f\xfd":
        try:
            import zstandard
        except ImportError:
            raise UserError(f"{name} is packed by zstd; run pip install zstandard, or unpack it first.") from None
        return cast(
            BinaryIO, io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True))
        )
    if name.endswith(_PACKED):
        raise UserError(f"{name} cannot be read: it is not packed as its name says; unpack it or rename it.")
    return raw


def _holds_articles(head: bytes, name: str) -> bool:
    """Whether a folder's file is one to import; others' facts and settings are JSON too."""
    if ".json" not in PurePosixPath(name).suffixes:
        return True
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    line, ended, _ = first.partition(b"\n")
    is_list = _LIST.match(first) is not None
    return is_list or (_is_record(first) and (not ended or b'text"' in line or b'content"' in line))


def _articles(buffered: "io.BufferedReader[Any]", name: str, source: str) -> Iterator[Article]:
    """The articles of one file, by its form."""
    head = buffered.peek(_HEAD)
    if head.startswith(b"PAR1"):
        return _from_records(_parquet(buffered, name), name, source, "row")
    if head.startswith(b"WARC/"):
        raise UserError(
            f"{name} is a web archive (WARC), and 'textmill import' reads texts, not pages; "
            "extract its texts to JSON lines first."
        )
    lines = _decoded(io.TextIOWrapper(buffered, encoding="utf-8-sig", newline="\n"), name)
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    named_text = PurePosixPath(name.removesuffix(".gz")).suffix in (".txt", ".text", ".md")
    if first.startswith(b"[") and not named_text and not _is_record(first):
        return _from_records(_array("".join(lines), name), name, source, "entry")
    if _is_record(first) or not named_text:
        return _from_lines(lines, name, source)
    return _from_text(lines, name, source)


def _is_record(head: bytes) -> bool:
    """Whether a file begins with a line that is a JSON object, or with one too long to tell."""
    if not head.startswith(b"{"):
        return False
    line, ended, _ = head.partition(b"\n")
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return not ended and b'":' in line.replace(b" ", b"")


def _decoded(file: Iterable[str], name: str) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not UTF-8 text ({error.reason} at byte {error.start}); convert it first."
        ) from error


def _parquet(file: "io.BufferedReader[Any]", name: str) -> Iterator[Any]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{name} is a Parquet file; run pip install pyarrow to read it.") from None
    whole = file if file.seekable() else io.BytesIO(file.read())
    for batch in pyarrow.parquet.ParquetFile(whole).iter_batches(batch_size=256):
        yield from batch.to_pylist()


def _array(text: str, name: str) -> Iterator[Any]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{name}, line 1: not an article, nor a list of them ({error}); write an object with a 'text'."
        ) from None
    if not any(isinstance(each, dict) for each in entries):
        raise UserError(f"{name}, line 1: not an article, but a list of other things; write an object with a 'text'.")
    yield from entries


def _from_lines(lines: Iterable[str], name: str, source: str) -> Iterator[Article]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _no_article(name, "line", number, error) from error
        yield _article(record, name, source, "line", number)


def _from_records(records: Iterable[Any], name: str, source: str, unit: str) -> Iterator[Article]:
    for number, record in enumerate(records, start=1):
        yield _article(record, name, source, unit, number)


def _article(record: Any, name: str, source: str, unit: str, number: int) -> Article:
    try:
        return _of_record(record, f"import:{source}/{name}#{number}", source)
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        raise _no_article(name, unit, number, error) from error


def _no_article(name: str, unit: str, number: int, error: Exception) -> UserError:
    return UserError(f"{name}, {unit} {number}: not an article ({error}); write an object with a 'text'.")


def _of_record(record: Any, url: str, source: str) -> Article:
    if not isinstance(record, dict):
        raise ValueError(f"it is a {type(record).__name__}")
    known = {field.name for field in fields(Article)}
    values = {key: value for key, value in record.items() if key in known and value is not None}
    for name, paths in _ELSEWHERE.items():
        found = next((value for each in paths if (value := _at(record, each)) is not None), None)
        if name not in values and found is not None and (name not in _OPTIONAL or _is_meant(name, found)):
            values[name] = found
    values |= {key: _time(values[key]) for key in _TIMES if key in values}
    values = {"url": url, "source": source, "title": "", "fetched": now()} | values
    wrong = sorted(key for key in _STRINGS & values.keys() if not isinstance(values[key], str))
    if wrong or not isinstance(values.get("text"), str):
        raise ValueError(f"{', '.join(wrong) or 'text'} must be a string")
    values |= {key: without_surrogates(values[key]) for key in _STRINGS & values.keys()}
    if len(values["text"].encode()) > _LARGEST:
        raise ValueError(f"its text of {len(values['text']):,} characters is more than the store can hold")
    return Article(**values)


def _at(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _is_meant(name: str, value: Any) -> bool:
    """Whether a value under another name is what our field of this name holds."""
    if not isinstance(value, str):
        return False
    if name == "language":
        return re.fullmatch("[a-z]{2}", value) is not None
    if name == "fetched":
        try:
            return bool(_time(value))
        except ValueError:
            return False
    return True


def without_surrogates(text: str) -> str:
    """A text whose halves of characters are joined, or replaced by U+FFFD where one stands alone."""
    return _SURROGATES.sub(lambda found: found[0].encode("utf-16", "surrogatepass").decode("utf-16", "replace"), text)


def _time(value: Any) -> datetime:
    time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
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
