"""Of an artifact's folder only what its facts name is read, and only as it was written."""

import json
from pathlib import Path

import pytest
from named_shards import name_shards

from textmill.corpus import exported_articles, shards, tfrecords
from textmill.corpus.exported_articles import Exported
from textmill.ground.errors import TextmillError
from textmill.ground.files import emptied

MILL = Exported("http://mill.example/1", "mill", "The mill", "It turns.")
BARN = Exported("http://barn.example/1", "barn", "The barn", "It stands.")


def _write(file: Path, *articles: Exported) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(tfrecords.frame(tfrecords.encode_example(each._asdict())) for each in articles))


@pytest.fixture
def split(tmp_path: Path) -> Path:
    _write(tmp_path / "Split-train" / "articles-00000-of-00001", MILL)
    name_shards(tmp_path)
    return tmp_path / "Split-train"


def test_a_file_that_the_facts_do_not_name_is_not_read(split: Path) -> None:
    _write(split / "articles-00000-of-00004", BARN)
    assert list(exported_articles.read(split)) == [MILL]


def test_another_file_of_the_same_name_is_refused(split: Path) -> None:
    _write(split / "articles-00000-of-00001", BARN)
    with pytest.raises(TextmillError, match=r"is not the file that facts\.json beside it names; write it again with"):
        list(exported_articles.read(split))


def test_a_missing_file_is_named(split: Path) -> None:
    (split / "articles-00000-of-00001").unlink()
    with pytest.raises(TextmillError, match="articles-00000-of-00001 is missing; write it again"):
        list(exported_articles.read(split))


def test_records_are_counted(split: Path) -> None:
    facts = split.parent / "facts.json"
    facts.write_text(facts.read_text("utf-8").replace('"records": 1', '"records": 2'), "utf-8")
    with pytest.raises(TextmillError, match=r"holds 1 records where facts\.json says 2"):
        list(exported_articles.read(split))


def test_facts_that_name_no_files_are_refused(split: Path) -> None:
    (split.parent / "facts.json").write_text(json.dumps({"articles": {}}), "utf-8")
    with pytest.raises(TextmillError, match=r"has no facts\.json beside it that names its files"):
        list(exported_articles.read(split))


def test_facts_of_another_life_are_refused(split: Path) -> None:
    recorded = shards.facts_digest(split.parent)
    assert shards.check_facts(split.parent, recorded) == split.parent
    assert shards.check_facts(split.parent, "") == split.parent  # nothing was recorded
    _write(split / "articles-00000-of-00001", BARN)
    name_shards(split.parent)
    with pytest.raises(TextmillError, match="is not what the pipeline's metadata recorded"):
        shards.check_facts(split.parent, recorded)


def test_a_folder_is_emptied_and_keeps_its_place(split: Path) -> None:
    inode = split.parent.stat().st_ino
    assert list(emptied(split.parent).iterdir()) == []
    assert split.parent.stat().st_ino == inode  # it may be a mount
