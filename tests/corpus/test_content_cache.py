"""What is kept by content from run to run: within a bound, and never in the way."""

import hashlib
import random
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.corpus.content_cache import Cache, ContentCache
from textmill.corpus.minhash import signature, signatures, way
from textmill.corpus.token_cache import TokenCache


def _contents(*names: object) -> list[str]:
    return [hashlib.sha256(str(name).encode()).hexdigest() for name in names]


@given(st.dictionaries(st.text(), st.lists(st.integers(0, 2**16 - 1)), max_size=9), st.sampled_from([1 << 16, 1 << 17]))
def test_the_cache_gives_back_what_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, tokens: dict[str, list[int]], vocabulary: int
) -> None:
    cache = TokenCache(ContentCache(tmp_path_factory.mktemp("cache"), "way"), vocabulary)
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


def test_the_cache_stays_within_its_bound_and_drops_other_ways_and_the_oldest_first(tmp_path: Path) -> None:
    generator = random.Random(1)
    other = ContentCache(tmp_path, "other")
    other.put(dict.fromkeys(_contents(*range(9)), bytes(40_000)))
    other.close()
    cache = ContentCache(tmp_path, "this")
    contents = _contents(*range(400))
    for content in contents:
        cache.put({content: generator.randbytes(1900)})
    cache.close()
    Cache(str(tmp_path), 300_000).prune("this")
    cache = ContentCache(tmp_path, "this")
    assert not other.path.exists()
    kept = [content in cache.get([content]) for content in contents]
    assert kept == sorted(kept) and 80 < sum(kept) < 150
    cache.close()


def test_a_file_that_is_no_database_is_made_anew(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, "way")
    cache.close()
    cache.path.write_bytes(b"no database" * 1000)
    fresh = ContentCache(tmp_path, "way")
    assert fresh.get(_contents("a")) == {}
    fresh.put({_contents("a")[0]: b"value"})
    assert fresh.get(_contents("a")) == {_contents("a")[0]: b"value"}
    fresh.close()


def test_damage_anywhere_in_the_file_gives_no_wrong_value_and_no_error(tmp_path: Path) -> None:
    values = {content: content.encode() * 8 for content in _contents(*range(200))}
    cache = ContentCache(tmp_path, "way")
    cache.put(values)
    cache.close()
    sound = cache.path.read_bytes()
    generator = random.Random(1)
    for _ in range(40):
        damaged = bytearray(sound)
        place = generator.randrange(len(damaged) - 100)
        damaged[place : place + 100] = generator.randbytes(100)
        cache.path.write_bytes(damaged)
        for again in (False, True):
            opened = ContentCache(tmp_path, "way")
            assert opened.get(values).items() <= values.items()
            opened.put(values)
            opened.prune(10**9)
            found = opened.get(values)
            opened.close()
            assert found.items() <= values.items() and (not again or not found or found == values)


def test_a_folder_that_cannot_be_written_keeps_nothing_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    cache = ContentCache(tmp_path / "file", "way")
    cache.put({_contents("a")[0]: b"value"})
    assert cache.get(_contents("a")) == {}
    cache.prune(1)
    cache.close()


def test_a_full_disk_keeps_what_was_there_and_stops_nobody(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, "way")
    cache.put({_contents("a")[0]: b"value"})
    assert cache._database
    pages = cache._database.execute("PRAGMA page_count").fetchone()[0]
    cache._database.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then says that the disk is full
    with pytest.raises(sqlite3.OperationalError, match="full"):
        cache._database.execute("INSERT INTO kept VALUES (?, ?)", (b"", bytes(100_000)))
    cache.put({_contents("b")[0]: bytes(100_000)})
    assert cache.get(_contents("a", "b")) == {}
    again = ContentCache(tmp_path, "way")
    assert again.get(_contents("a", "b")) == {_contents("a")[0]: b"value"}
    again.close()


def test_a_worker_may_use_in_one_thread_what_it_opened_in_another(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, "way")
    thread = threading.Thread(target=cache.put, args=({_contents("a")[0]: b"value"},))
    thread.start()
    thread.join()
    assert cache.get(_contents("a")) == {_contents("a")[0]: b"value"}
    cache.close()


def test_signatures_that_are_kept_are_not_computed_again(tmp_path: Path) -> None:
    kept = ContentCache(tmp_path, way())
    texts = {content: f"water turns the wheel of mill {content}" for content in _contents(*range(3))}
    first = signatures(dict(list(texts.items())[:2]), kept)
    content = next(iter(texts))
    other = np.arange(128, dtype="<u4")
    kept.put({content: other.tobytes()})  # so that one that was read can be told from one that was computed
    found = signatures(texts, kept)
    assert (found.pop(content) == other).all() and not (first.pop(content) == other).all()
    assert all((found[each] == signature(texts[each])).all() for each in found) and len(found) == 2
    assert all((found[each] == first[each]).all() for each in first)
    kept.close()


def test_the_numbers_of_a_signature_change_only_with_its_version() -> None:
    # where this fails, raise textmill.corpus.minhash._VERSION, so that kept signatures are not compared with others
    text = "In the morning the miller opens the sluice, and water turns the wheel. 水車 " * 3
    assert way().startswith("signatures\x001 ")
    assert hashlib.sha256(signature(text).astype("<u4").tobytes()).hexdigest()[:16] == "8b6ce442a6899af3"
