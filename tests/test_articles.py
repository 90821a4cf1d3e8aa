"""The article store: immutable versions, and snapshots that read the same whatever happens afterwards."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.articles import Article, ArticleStore, digest_of, digest_term, key_of, key_ranges
from textmill.errors import UserError


def _article(number: int, text: str = "Water turns the wheel.") -> Article:
    return Article(f"http://mill.example/{number}", "mill", f"Title {number}", f"{text} {number}", datetime.now(UTC))


def _later() -> None:
    time.sleep(0.005)  # two milliseconds are the store's notion of a moment


def test_storing_the_same_articles_twice_writes_nothing(store: ArticleStore) -> None:
    articles = [_article(i) for i in range(20)]
    assert store.upsert(articles).new == 20
    assert store.upsert(articles).unchanged == 20
    assert store.versions.count_documents({}) == 20


def test_a_changed_article_gets_a_version_and_the_former_one_stays(store: ArticleStore) -> None:
    store.upsert([_article(1)])
    _later()
    before = store.take_snapshot()
    store.upsert([_article(1, "The pond froze.")])
    _later()
    after = store.take_snapshot()
    assert [a.text for a in store.read(before)] == ["Water turns the wheel. 1"]
    assert [a.text for a in store.read(after)] == ["The pond froze. 1"]
    assert before.digest != after.digest


def test_an_unchanged_store_gives_the_snapshot_it_gave_before(store: ArticleStore) -> None:
    store.upsert([_article(i) for i in range(5)])
    _later()
    first = store.take_snapshot()
    store.upsert([_article(i) for i in range(5)])
    _later()
    assert store.take_snapshot() == first


def test_a_crawl_killed_between_two_writes_leaves_one_current_text(store: ArticleStore) -> None:
    store.upsert([_article(1)])
    _later()
    store.upsert([_article(1, "The pond froze.")])
    # as after a kill: the new version is written, the former one not yet closed, the article not yet pointed at it
    store.versions.update_many({}, {"$set": {"valid_to": None}})
    store.articles.delete_many({})
    _later()
    snapshot = store.take_snapshot()
    assert [a.text for a in store.read(snapshot)] == ["The pond froze. 1"]
    assert store.upsert([_article(1, "The pond froze.")]).unchanged == 1


def test_ranges_of_keys_cover_a_snapshot_once(store: ArticleStore) -> None:
    store.upsert([_article(i) for i in range(60)])
    _later()
    snapshot = store.take_snapshot()
    read = [article for keys in key_ranges(7) for article in store.read(snapshot, keys)]
    assert len({a.key for a in read}) == len(read) == 60
    assert digest_of(digest_term(a.key, a.content_hash) for a in reversed(read)) == snapshot.digest


def test_an_unknown_snapshot_is_named(store: ArticleStore) -> None:
    with pytest.raises(UserError, match="no snapshot 7"):
        store.snapshot(7)


def test_a_store_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(UserError) as raised:
        ArticleStore.connect("mongodb://reader:secret@127.0.0.1:9/?serverSelectionTimeoutMS=200", "textmill")
    assert "127.0.0.1:9" in str(raised.value)
    assert "secret" not in str(raised.value)


@given(st.lists(st.text(min_size=1), unique=True, max_size=50), st.integers(1, 200))
def test_every_key_lies_in_exactly_one_range(urls: list[str], parts: int) -> None:
    ranges = key_ranges(parts)
    for url in urls:
        assert sum(low <= key_of(url) < high for low, high in ranges) == 1
