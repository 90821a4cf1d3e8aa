"""Tokens are kept from run to run, by content and tokenizer, within a bound."""

from functools import partial
from pathlib import Path

from test_export import Shelf, _article, _pipeline

from textmill.articles.article import Article
from textmill.articles.selection import Selection
from textmill.corpus import content_cache, export, preprocess, tfrecords
from textmill.gpt2 import tokenizer
from textmill.gpt2.tokenizer import Tokenizer

BPE = tokenizer.train_bpe(["Mill 12 grinds 84 sacks a day. " * 9], 300)


def _run(articles: list[Article], folder: Path, cache: content_cache.Cache, bpe: Tokenizer = BPE) -> dict[str, object]:
    shelf = Shelf(tuple(articles))
    opener = partial(Shelf, shelf.articles)
    export.export_articles(_pipeline(), opener, shelf.snapshot(), folder / "examples", Selection(20, 20))
    return preprocess.preprocess(_pipeline(), folder / "examples", folder / "windows", bpe, 64, cache)


def _windows(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in sorted((folder / "windows").rglob("windows-*"))}


def test_a_second_run_tokenises_what_has_changed_and_writes_what_a_first_would(tmp_path: Path) -> None:
    articles = [_article(number) for number in range(60)]
    cache = content_cache.Cache(str(tmp_path / "cache"), 10**9)
    first = _run(articles, tmp_path / "first", cache)
    assert first["tokenised"] == sum(first["articles"][split] for split in preprocess.WINDOWED)  # type: ignore[index]
    assert _run(articles, tmp_path / "same", cache)["tokenised"] == 0
    assert _windows(tmp_path / "same") == _windows(tmp_path / "first")
    changed = [_article(n, "New text." if n < 10 else "") for n in range(60)]
    again = _run(changed, tmp_path / "changed", cache)
    assert 0 < again["tokenised"] <= 10  # type: ignore[operator]
    _run(changed, tmp_path / "fresh", content_cache.Cache())
    assert _windows(tmp_path / "changed") == _windows(tmp_path / "fresh")


def test_another_tokenizer_has_a_cache_of_its_own(tmp_path: Path) -> None:
    articles = [_article(number) for number in range(60)]
    cache = content_cache.Cache(str(tmp_path / "cache"), 10**9)
    first = _run(articles, tmp_path / "first", cache)
    other = _run(articles, tmp_path / "other", cache, tokenizer.characters(["Mill 0123456789 grinds sacks a day.\n"]))
    assert first["tokenised"] == other["tokenised"]
    assert len(list((tmp_path / "cache").glob("*.sqlite"))) == 2


def test_where_tokens_cannot_be_kept_the_text_is_tokenised_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    facts = _run(
        [_article(number) for number in range(60)], tmp_path, content_cache.Cache(str(tmp_path / "file"), 10**9)
    )
    assert facts["tokenised"] == sum(facts["articles"][split] for split in preprocess.WINDOWED)  # type: ignore[index]


def test_no_window_but_the_last_of_each_file_is_short(tmp_path: Path) -> None:
    _run([_article(number) for number in range(60)], tmp_path, content_cache.Cache())
    for file in (tmp_path / "windows").rglob("windows-*"):
        sizes = [len(tfrecords.int_feature(record, "tokens")) for record in tfrecords.read_records(file)]
        assert set(sizes[:-1]) <= {64} and 0 < sizes[-1] <= 64
