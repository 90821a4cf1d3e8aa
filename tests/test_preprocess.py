"""Tokens are kept from run to run, by content and tokenizer, within a bound."""

import hashlib
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_export import Shelf, _article, _pipeline

from textmill import corpus, export, records
from textmill.articles import Article
from textmill.gpt2 import tokenizer
from textmill.gpt2.tokenizer import Tokenizer
from textmill.selection import Selection
from textmill.token_cache import TokenCache

BPE = tokenizer.train_bpe(["Mill 12 grinds 84 sacks a day. " * 9], 300)


def _run(articles: list[Article], folder: Path, cache: corpus.Cache, bpe: Tokenizer = BPE) -> dict[str, object]:
    shelf = Shelf(tuple(articles))
    opener = partial(Shelf, shelf.articles)
    export.export_articles(_pipeline(), opener, shelf.snapshot(), folder / "examples", Selection(20, 20))
    return corpus.preprocess(_pipeline(), folder / "examples", folder / "windows", bpe, 64, cache)


def _windows(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in sorted((folder / "windows").rglob("windows-*"))}


def test_a_second_run_tokenises_what_has_changed_and_writes_what_a_first_would(tmp_path: Path) -> None:
    articles = [_article(number) for number in range(60)]
    cache = corpus.Cache(str(tmp_path / "cache"), 10**9)
    first = _run(articles, tmp_path / "first", cache)
    assert first["tokenised"] == sum(first["articles"][split] for split in corpus.WINDOWED)  # type: ignore[index]
    assert _run(articles, tmp_path / "same", cache)["tokenised"] == 0
    assert _windows(tmp_path / "same") == _windows(tmp_path / "first")
    changed = [_article(n, "New text." if n < 10 else "") for n in range(60)]
    again = _run(changed, tmp_path / "changed", cache)
    assert 0 < again["tokenised"] <= 10  # type: ignore[operator]
    _run(changed, tmp_path / "fresh", corpus.Cache())
    assert _windows(tmp_path / "changed") == _windows(tmp_path / "fresh")


def test_another_tokenizer_has_a_cache_of_its_own(tmp_path: Path) -> None:
    articles = [_article(number) for number in range(60)]
    cache = corpus.Cache(str(tmp_path / "cache"), 10**9)
    first = _run(articles, tmp_path / "first", cache)
    other = _run(articles, tmp_path / "other", cache, tokenizer.characters(["Mill 0123456789 grinds sacks a day.\n"]))
    assert first["tokenised"] == other["tokenised"]
    assert len(list((tmp_path / "cache").glob("*.sqlite"))) == 2


def _contents(*names: object) -> list[str]:
    return [hashlib.sha256(str(name).encode()).hexdigest() for name in names]


@given(st.dictionaries(st.text(), st.lists(st.integers(0, 2**16 - 1)), max_size=9), st.sampled_from([1 << 16, 1 << 17]))
def test_the_cache_gives_back_what_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, tokens: dict[str, list[int]], vocabulary: int
) -> None:
    cache = TokenCache(tmp_path_factory.mktemp("cache"), "{}", vocabulary)
    given_ = {
        content: np.array(each, np.uint32) for content, each in zip(_contents(*tokens), tokens.values(), strict=True)
    }
    cache.put(given_)
    cache.put(given_)
    found = cache.get([*given_, *_contents("absent")])
    assert {name: each.tolist() for name, each in found.items()} == {
        name: each.tolist() for name, each in given_.items()
    }
    cache.close()


def test_the_cache_stays_within_its_bound_and_drops_other_tokenizers_and_the_oldest_first(tmp_path: Path) -> None:
    generator = random.Random(1)
    other = TokenCache(tmp_path, "other", 300)
    other.put({each: np.arange(20_000, dtype=np.uint32) for each in _contents(*range(9))})
    other.close()
    cache = TokenCache(tmp_path, "this", 300)
    contents = _contents(*range(400))
    for content in contents:
        cache.put({content: np.array(generator.choices(range(300), k=1000), np.uint32)})
    cache.prune(300_000)
    assert cache._used() <= 300_000 and not other.path.exists()
    kept = [content in cache.get([content]) for content in contents]
    assert kept == sorted(kept) and 80 < sum(kept) < 150
    cache.close()


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path, "{}", 300)
    cache.close()
    cache.path.write_bytes(b"no database" * 1000)
    fresh = TokenCache(tmp_path, "{}", 300)
    assert fresh.get(_contents("a")) == {}
    fresh.close()


def test_where_tokens_cannot_be_kept_the_text_is_tokenised_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    facts = _run([_article(number) for number in range(60)], tmp_path, corpus.Cache(str(tmp_path / "file"), 10**9))
    assert facts["tokenised"] == sum(facts["articles"][split] for split in corpus.WINDOWED)  # type: ignore[index]


def test_no_window_but_the_last_of_each_file_is_short(tmp_path: Path) -> None:
    _run([_article(number) for number in range(60)], tmp_path, corpus.Cache())
    for file in (tmp_path / "windows").rglob("windows-*"):
        sizes = [len(records.int_feature(record, "tokens")) for record in records.read_records(file)]
        assert set(sizes[:-1]) <= {64} and 0 < sizes[-1] <= 64
