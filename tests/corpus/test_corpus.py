"""Splitting and packing: an article stays in its split, and no token is lost or repeated."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.articles.article import Article, key_of
from textmill.articles.selection import Selection
from textmill.articles.snapshot import Snapshot
from textmill.articles.store import ArticleStore
from textmill.corpus import export, exported_articles, preprocess, shards, tfrecords
from textmill.gpt2 import tokenizer
from textmill.ground.errors import UserError

FIFTHS = Selection(eval_percent=20, validation_percent=20, near_duplicates=0)


def _article(number: int, text: str = "") -> Article:
    body = text or f"Water turns the wheel of mill {number}. " * (number % 7 + 1)
    return Article(f"http://mill.example/{number}", "mill", f"Mill {number}", body, datetime.now(UTC), language="en")


def _pipeline() -> beam.Pipeline:
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


def _snapshot(store: ArticleStore, articles: Iterable[Article]) -> Snapshot:
    store.upsert(list(articles))
    time.sleep(0.005)  # a snapshot leaves out what is written in its very millisecond
    return store.take_snapshot()


def _opener(store: ArticleStore) -> export.OpenStore:
    database = store.articles.database
    host, port = database.client.address or ("", 0)
    return partial(ArticleStore.connect, f"mongodb://{host}:{port}", database.name)


def _texts(folder: Path) -> dict[str, list[tuple[str, str]]]:
    return {split: sorted(exported_articles.read_articles(folder / f"Split-{split}")) for split in export.SPLITS}


def test_export_writes_every_article_of_the_snapshot_once(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, map(_article, range(60)))
    store.upsert([_article(1, "Changed after the snapshot was taken.")])
    facts = export.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "out", FIFTHS)
    texts = _texts(tmp_path / "out")
    assert {split: len(found) for split, found in texts.items()} == facts.articles
    assert sorted(pair for found in texts.values() for pair in found) == sorted(
        (a.title, a.text) for a in map(_article, range(60))
    )
    for split, found in texts.items():
        keys = [key_of(f"http://mill.example/{title.split()[1]}") for title, _ in found]
        assert {export.split_of(key, 20, 20) for key in keys} == {split}


def test_the_same_text_under_two_addresses_is_exported_once(store: ArticleStore, tmp_path: Path) -> None:
    twin = Article("http://mill.example/twin", "mill", "Mill 3", _article(3).text, datetime.now(UTC))
    snapshot = _snapshot(store, [*map(_article, range(40)), twin])
    facts = export.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "out", FIFTHS)
    assert sum(facts.articles.values()) == 40
    assert facts.left_out == {"same text": 1}


def test_a_store_that_lost_an_article_is_not_exported(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, map(_article, range(30)))
    store.versions.delete_one({})
    with pytest.raises(UserError, match=r"no longer holds what snapshot \d+ recorded \(30 articles, now 29\)"):
        export.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "out", FIFTHS)


def test_a_corpus_too_small_to_split_is_refused(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, [_article(1)])
    with pytest.raises(UserError, match=r"too small to split: of 1 articles . are for .*corpus\.validation_percent"):
        export.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "out", Selection())


def test_windows_hold_every_token_of_every_document(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, map(_article, range(60)))
    export.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "examples", FIFTHS)
    trained = tokenizer.train_bpe(preprocess.tokenizer_sample(tmp_path / "examples" / "Split-train"), 300)
    facts = preprocess.preprocess(_pipeline(), tmp_path / "examples", tmp_path / "windows", trained, 16)
    texts_of = _texts(tmp_path / "examples")
    assert not (tmp_path / "windows" / "Split-eval").exists()  # only Evaluate reads that split
    for split in preprocess.WINDOWED:
        texts = texts_of[split]
        tokens = [
            token
            for shard in shards.of_split(tmp_path / "windows" / f"Split-{split}")
            for record in shard.read()
            for token in tfrecords.int_feature(record, "tokens")
        ]
        assert len(tokens) == facts["tokens"][split]
        assert tokens.count(trained.end) == len(texts)
        assert sorted(trained.decode(tokens).split("Mill ")) == sorted(
            "".join(f"{a}\n\n{b}" for a, b in texts).split("Mill ")
        )


@given(st.lists(st.lists(st.integers(1, 99), max_size=40), max_size=20), st.integers(1, 17))
def test_packing_loses_and_repeats_nothing(documents: list[list[int]], window: int) -> None:
    windows = list(preprocess.windows_of([np.array(each, np.uint32) for each in documents], window, 0))
    assert [t for w in windows for t in w.tolist()] == [t for d in documents for t in (*d, 0)]
    assert all(len(w) == window for w in windows[:-1])


_PERCENT = st.floats(0.1, 49.9)


@given(st.text(), _PERCENT, _PERCENT, _PERCENT)
def test_an_article_moves_only_into_or_out_of_the_split_whose_share_changes(
    url: str, evaluated: float, validated: float, other: float
) -> None:
    key = key_of(url)
    split = export.split_of(key, evaluated, validated)
    assert {split, export.split_of(key, evaluated, other)} <= {"train", "validation"} or split == "eval"
    assert {split, export.split_of(key, other, validated)} <= {"train", "eval"} or split == "validation"
    if split == "eval" and other >= evaluated:
        assert export.split_of(key, other, validated) == "eval"
    if split == "validation" and other >= validated:
        assert export.split_of(key, evaluated, other) == "validation"


def test_articles_judge_the_model_as_they_did_before_there_was_a_validation_split() -> None:
    keys = [key_of(f"http://mill.example/{number}") for number in range(3000)]
    for percent in (0.5, 10, 33.3):
        before = {key for key in keys if int(key[-8:], 16) < percent / 100 * 0x1_0000_0000}
        assert {key for key in keys if export.split_of(key, percent, 10) == "eval"} == before


def test_a_damaged_record_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.tfrecord"
    file.write_bytes(tfrecords.frame(b"whole") + tfrecords.frame(b"torn")[:-2])
    with pytest.raises(Exception, match="damaged at byte 21"):
        list(tfrecords.read_records(file))
