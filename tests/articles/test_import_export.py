"""Snapshots are listed and compared; articles leave as files and come back the same."""

import gzip
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from textmill.articles import import_export, imported_files, snapshot_diff
from textmill.articles.article import Article
from textmill.articles.selection import Selection
from textmill.articles.snapshot import Snapshot
from textmill.articles.snapshot_diff import Change
from textmill.articles.store import ArticleStore
from textmill.cli import app
from textmill.gpt2.tokenizer import END
from textmill.ground.errors import UserError

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _without(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is not None, reason=f"{package} is installed here")


def _article(number: int, text: str = "", source: str = "mill", **fields: object) -> Article:
    return Article(
        f"http://mill.example/{number}", source, f"Mill {number}", text or f"It is {number}.", NOON, **fields
    )  # type: ignore[arg-type]


def _snapshot(store: ArticleStore, articles: Iterable[Article]) -> Snapshot:
    store.upsert(list(articles), ["mill", "weir"])
    time.sleep(0.005)
    return store.take_snapshot()


def test_a_diff_says_what_was_added_removed_and_changed_in_each_source(store: ArticleStore) -> None:
    before = _snapshot(store, [_article(1), _article(2), _article(3, source="weir"), _article(4, source="weir")])
    after = _snapshot(store, [_article(1, "New."), _article(5), _article(6)])
    assert snapshot_diff.diff(store, before, after) == {"mill": Change(added=2, changed=1)}
    assert snapshot_diff.diff(store, after, before) == {"mill": Change(removed=2, changed=1)}
    assert snapshot_diff.diff(store, after, after) == {}
    only_weir = store.take_snapshot(["weir"])
    assert snapshot_diff.diff(store, after, only_weir) == {"mill": Change(removed=4)}
    assert [each.number for each in snapshot_diff.every(store)] == [1, 2, 3]
    assert any("4" in line for line in snapshot_diff.changes_table({"mill": Change(removed=4)}))


@pytest.mark.parametrize("form", import_export.FORMS)
@pytest.mark.parametrize("scheme", ["folder", "object store"])
def test_what_is_exported_comes_back(
    store: ArticleStore, tmp_path: Path, form: str, scheme: str, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setattr(import_export, "_ARTICLES_A_FILE", 7)
    uri = str(tmp_path / "copy") if scheme == "folder" else f"memory://{database}-{form}/copy"
    texts = ["Über den Mühlen.\n\nZwei Absätze. 🌾", f"A line:\n{END}\nand more.", "x"]
    articles = [_article(n, texts[n % 3] + str(n), published=NOON, licence="CC0") for n in range(20)]
    snapshot = _snapshot(store, articles)
    manifest, written = import_export.write(store, snapshot, None, uri, form)
    assert written and manifest["articles"] == 20 and [part["articles"] for part in manifest["files"]] == [7, 7, 6]
    back = list(imported_files.read(uri, "mill"))
    if form == "jsonl":
        assert sorted(back, key=lambda a: a.key) == sorted(articles, key=lambda a: a.key)
    else:
        moved = [(a.title, a.text.replace(f"\n{END}\n", f"\n {END}\n")) for a in articles]
        assert sorted((a.title, a.text) for a in back) == sorted(moved)
    assert import_export.write(store, snapshot, None, uri, form) == (manifest, False)
    assert fsspec.open(f"{uri}/manifest.json").fs.exists(f"{uri}/manifest.json")


def test_bringing_the_same_file_in_twice_changes_nothing(store: ArticleStore, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"One\n\nThe first.\n{END}\nonly text\n{END}\n\n", encoding="utf-8")
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    for expected in ({"new": 2}, {"unchanged": 2}):
        counts = import_export.bring_in(store, imported_files.read(str(tmp_path), "papers"), ["papers"])
        assert {name: n for name, n in counts.items() if n} == {**expected, "source:papers": 2}
    time.sleep(0.005)
    assert {(a.title, a.text) for a in store.read(store.take_snapshot())} == {("One", "The first."), ("a", "only text")}


def test_an_export_leaves_out_what_the_configuration_does(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, [_article(1), _article(2, reserved="TDMRep")])
    manifest, _ = import_export.write(store, snapshot, Selection(), str(tmp_path), "jsonl")
    assert manifest["articles"] == 1 and manifest["left_out"] == {"rights reserved": 1}


def test_equal_snapshots_are_written_as_equal_bytes(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, [_article(n) for n in range(5)])
    for name in ("a", "b"):
        import_export.write(store, snapshot, None, str(tmp_path / name), "jsonl")
    assert (tmp_path / "a/part-00000.jsonl.gz").read_bytes() == (tmp_path / "b/part-00000.jsonl.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "fine"}\n{"text": 3}\n', r"a\.jsonl, line 2: not an article"),
        ("a.jsonl", b'{"text": "x", "published": "yesterday"}', "line 1: not an article"),
        ("a.jsonl", b'{"title": "x"}', "line 1: not an article"),
        ("a.jsonl", b'["text"]', "line 1: not an article"),
        ("a.jsonl", b'{"text": ', "line 1: not an article"),
        ("a.txt", b"caf\xe9", r"a\.txt is not UTF-8 text"),
        ("a.jsonl.gz", b"not gzipped", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 999, mtime=0)[:-9], "cannot be read"),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 50, "cannot be read"),
        ("a.pdf", b"%PDF", r"has no file that ends in \.jsonl"),
    ],
)
def test_a_wrong_file_is_named_in_a_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        list(imported_files.read(str(tmp_path), "papers"))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("/no/such/folder", "does not exist"),
        pytest.param("s3://bucket/x", r"textmill\[s3\]", marks=_without("s3fs")),
        pytest.param("gs://bucket/x", r"textmill\[gcs\]", marks=_without("gcsfs")),
        ("nonsense://x", "is not a valid location"),
    ],
)
def test_a_place_that_cannot_be_reached_comes_with_the_cure(uri: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        list(imported_files.read(uri, "papers"))


class _Locked(fsspec.AbstractFileSystem):
    """An object store whose client raises errors of its own, as botocore does, which is in an extra."""

    protocol = "locked"
    error = type("NoCredentialsError", (Exception,), {"__module__": "botocore.exceptions"})

    def exists(self, path: str, **_: object) -> bool:
        raise self.error("Unable to locate credentials")


def test_what_an_object_stores_client_raises_is_said_in_a_sentence() -> None:
    fsspec.register_implementation("locked", _Locked, clobber=True)
    with pytest.raises(
        UserError, match=r"locked://bucket/x cannot be read .*Unable to locate credentials.*have access"
    ):
        list(imported_files.read("locked://bucket/x", "papers"))


def test_an_article_too_large_for_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a mill " * 2_000_000, encoding="utf-8")
    with pytest.raises(UserError, match="more than the store can hold"):
        list(imported_files.read(str(tmp_path / "a.txt"), "papers"))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), max_size=5))
def test_json_lines_keep_any_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file = tmp_path_factory.mktemp("lines") / "a.jsonl"
    articles = [_article(number, text or "x") for number, text in enumerate(texts)]
    file.write_text("".join(map(import_export._line, articles)), encoding="utf-8", newline="\n")
    assert list(imported_files.read(str(file), "mill")) == articles


def test_the_commands_list_compare_export_and_import(
    store: ArticleStore, tmp_path: Path, mongodb_uri: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    config = tmp_path / "textmill.yaml"
    config.write_text(
        f"name: mill\nsources: [{{name: mill, start: 'http://mill.example/'}}]\nstore: {{database: {database}}}\n"
        "corpus: {imported: [papers]}\n"
    )

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--config", str(config)])
        assert done.exit_code == 0, done.output + repr(done.exception)
        return done.output

    assert "no snapshot yet" in run("snapshots")
    _snapshot(store, [_article(1), _article(2)])
    lines = tmp_path / "more.jsonl"
    lines.write_text(json.dumps({"text": "Imported."}) + "\n" + json.dumps({"text": "Own.", "source": "attic"}) + "\n")
    assert "2 new" in (said := run("import", str(lines), "--source", "papers")) and "imported: [attic]" in said
    time.sleep(0.005)
    out = run("export", "--to", str(tmp_path / "out"), "--form", "text")
    assert "3 articles in 1 files" in out  # those of 'attic' are not in the file
    assert "has it already" in run("export", "--to", str(tmp_path / "out"), "--form", "text")
    assert len(run("snapshots").splitlines()) == 3
    assert "papers" in run("diff", "1", "2")


def test_times_without_a_zone_are_utc() -> None:
    assert imported_files._time("2026-05-01T12:00:00") == NOON == imported_files._time("2026-05-01T14:00:00+02:00")
    assert replace(_article(1), published=imported_files._time("2026-05-01")).published == datetime(
        2026, 5, 1, tzinfo=UTC
    )
