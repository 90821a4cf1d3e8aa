"""Splitting and packing: an article stays in its split, and no token is lost or repeated."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import apache_beam as beam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill import corpus, records
from textmill.articles import Article, ArticleStore, Snapshot, key_of
from textmill.errors import UserError
from textmill.gpt2 import tokenizer


def _article(number: int, text: str = "") -> Article:
    body = text or f"Water turns the wheel of mill {number}. " * (number % 7 + 1)
    return Article(f"http://mill.example/{number}", "mill", f"Mill {number}", body, datetime.now(UTC), language="en")


def _pipeline() -> beam.Pipeline:
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


def _snapshot(store: ArticleStore, articles: Iterable[Article]) -> Snapshot:
    store.upsert(list(articles))
    time.sleep(0.005)  # a snapshot leaves out what is written in its very millisecond
    return store.take_snapshot()


def _opener(store: ArticleStore) -> corpus.OpenStore:
    database = store.articles.database
    host, port = database.client.address or ("", 0)
    return partial(ArticleStore.connect, f"mongodb://{host}:{port}", database.name)


def _texts(folder: Path) -> dict[str, list[tuple[str, str]]]:
    return {split: sorted(corpus.read_articles(folder / f"Split-{split}")) for split in corpus.SPLITS}


def test_export_writes_every_article_of_the_snapshot_once(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, map(_article, range(60)))
    store.upsert([_article(1, "Changed after the snapshot was taken.")])
    facts = corpus.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "out", 20)
    texts = _texts(tmp_path / "out")
    assert {split: len(found) for split, found in texts.items()} == facts.articles
    assert sorted(texts["train"] + texts["eval"]) == sorted((a.title, a.text) for a in map(_article, range(60)))
    assert all(corpus.split_of(key_of(f"http://mill.example/{t.split()[1]}"), 20) == "eval" for t, _ in texts["eval"])


def test_the_same_text_under_two_addresses_is_exported_once(store: ArticleStore, tmp_path: Path) -> None:
    twin = Article("http://mill.example/twin", "mill", "Mill 3", _article(3).text, datetime.now(UTC))
    snapshot = _snapshot(store, [*map(_article, range(40)), twin])
    facts = corpus.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "out", 20)
    assert sum(facts.articles.values()) == 40
    assert facts.left_out == {"other language or same text": 1}


def test_a_store_that_lost_an_article_is_not_exported(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, map(_article, range(30)))
    store.versions.delete_one({})
    with pytest.raises(UserError, match=r"no longer holds what snapshot \d+ recorded \(30 articles, now 29\)"):
        corpus.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "out", 20)


def test_a_corpus_too_small_to_split_is_refused(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, [_article(1)])
    with pytest.raises(UserError, match="too small to split"):
        corpus.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "out", 10)


def test_windows_hold_every_token_of_every_document(store: ArticleStore, tmp_path: Path) -> None:
    snapshot = _snapshot(store, map(_article, range(60)))
    corpus.export_articles(_pipeline(), _opener(store), snapshot, tmp_path / "examples", 20)
    trained = tokenizer.train_bpe(corpus.tokenizer_sample(tmp_path / "examples" / "Split-train"), 300)
    facts = corpus.preprocess(_pipeline(), tmp_path / "examples", tmp_path / "windows", trained, 16)
    for split, texts in _texts(tmp_path / "examples").items():
        tokens = [
            token
            for file in records.record_files(tmp_path / "windows" / f"Split-{split}")
            for record in records.read_records(file)
            for token in records.int_feature(record, "tokens")
        ]
        assert len(tokens) == facts["tokens"][split]
        assert tokens.count(trained.end) == len(texts)
        assert sorted(trained.decode(tokens).split("Mill ")) == sorted(
            "".join(f"{a}\n\n{b}" for a, b in texts).split("Mill ")
        )


@given(st.lists(st.lists(st.integers(1, 99), max_size=40), max_size=20), st.integers(1, 17))
def test_packing_loses_and_repeats_nothing(documents: list[list[int]], window: int) -> None:
    windows = list(corpus.windows_of(documents, window, 0))
    assert [t for w in windows for t in w] == [t for d in documents for t in (*d, 0)]
    assert all(len(w) == window for w in windows[:-1])


@given(st.text(), st.floats(0.1, 49))
def test_an_article_in_the_held_out_split_stays_there_when_the_share_grows(url: str, percent: float) -> None:
    if corpus.split_of(key_of(url), percent) == "eval":
        assert corpus.split_of(key_of(url), percent + 1) == "eval"


def test_a_damaged_record_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.tfrecord"
    file.write_bytes(records.frame(b"whole") + records.frame(b"torn")[:-2])
    with pytest.raises(Exception, match="damaged at byte 21"):
        list(records.read_records(file))
