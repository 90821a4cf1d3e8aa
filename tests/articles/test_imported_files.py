"""Files of other makers are read by what they hold."""

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from textmill.articles import imported_files
from textmill.articles.article import Article
from textmill.ground.errors import UserError

CASES = Path(__file__).parent.parent / "cases"
RECORDS = [{"text": f"The wheel turned on day {number}.", "url": f"https://p.example/{number}"} for number in range(3)]
LINES = "".join(json.dumps(each) + "\n" for each in RECORDS).encode()


def read(path: Path) -> list[Article]:
    return list(imported_files.read(str(path), "papers"))


def test_c4s_file_names_are_read_as_lines_of_json() -> None:
    found = read(CASES / "c4-train.00000-of-01024.json.gz")
    assert [each.url for each in found] == [f"https://c4.example/{number}" for number in range(3)]
    assert not [each for each in found if "{" in each.text]
    assert f"{found[0].fetched:%Y-%m-%d}" == "2019-04-25"


def test_files_of_one_name_in_two_folders_are_all_kept() -> None:
    found = read(CASES / "shards")
    assert len(found) == len({each.key for each in found}) == 6
    assert found[0].url == "import:papers/de/part-00000.jsonl#1"


def test_half_a_character_is_replaced() -> None:
    (found,) = read(CASES / "lone-surrogate.jsonl")
    assert found.text == "lone \ufffd surrogate and enough words here"
    assert imported_files.without_surrogates("\ud83d\ude00 \udc80") == "😀 \ufffd"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", LINES),
        ("a.txt", LINES),  # the content tells
        ("a.json", json.dumps(RECORDS, indent=1).encode()),
        ("a.json.gz", gzip.compress(LINES)),
        ("a.jsonl.zst", zstandard.compress(LINES)),
        ("a.jsonl", bz2.compress(LINES)),
        ("a.jsonl.bz2", bz2.compress(LINES[: len(LINES) // 2]) + bz2.compress(LINES[len(LINES) // 2 :])),
        ("a.json", b"\xef\xbb\xbf" + LINES),
    ],
)
def test_the_content_tells_form_and_compression(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert [(each.text, each.url) for each in read(tmp_path)] == [(each["text"], each["url"]) for each in RECORDS]


def test_parquet_is_read(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), tmp_path / "000_00000.parquet")
    assert [each.text for each in read(tmp_path)] == [each["text"] for each in RECORDS]


@pytest.mark.parametrize(
    "record",
    [
        {"raw_content": "The wheel.", "meta": {"url": "https://p.example/1", "language": "en"}},  # RedPajama
        {"id": "1", "text": "The wheel.", "metadata": {"url": "https://p.example/1"}, "lang": "en"},  # Dolma
        {
            "content": "The wheel.",
            "warc_headers": {"warc-target-uri": "https://p.example/1"},
            "language": "en",
        },  # OSCAR
        {"text": "The wheel.", "url": "https://p.example/1", "dump": "CC-MAIN-2024-10", "language": "en"},  # FineWeb
    ],
)
def test_records_name_their_fields_as_public_corpora_do(tmp_path: Path, record: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(record), "utf-8")
    (found,) = read(tmp_path)
    assert (found.text, found.url, found.language) == ("The wheel.", "https://p.example/1", "en")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "fine", "author": ["A", "B"]}', r"line 1: not an article \(author must be a string\)"),
        ("a.jsonl", b'{"text": "x", "published": 3}', "line 1: not an article"),
        ("a.parquet", b"PAR1 and no more", "cannot be read"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd damaged", "cannot be read"),
        ("a.jsonl", b'{"text": "' + b"x" * 12_000_001 + b'"}', "more than the store can hold"),
    ],
)
def test_what_is_no_article_is_said_in_a_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        read(tmp_path)


def test_a_folders_json_that_holds_no_articles_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "sizes.json").write_text(json.dumps({"a": 1}, indent=1))
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "a.json").write_bytes(LINES)
    assert len(read(tmp_path)) == 3
    with pytest.raises(UserError, match="but a list of other things"):
        read(tmp_path / "list.json")


def test_a_web_archive_is_named() -> None:
    with pytest.raises(UserError, match=r"one\.warc is a web archive \(WARC\)"):
        read(CASES / "one.warc")
