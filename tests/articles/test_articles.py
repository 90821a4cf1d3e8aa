"""The article store: immutable versions, and snapshots that read the same whatever happens afterwards."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.articles.article import Article, key_of, now
from textmill.articles.forgetting import Forgotten, forget
from textmill.articles.import_export import bring_in
from textmill.articles.imported_files import read
from textmill.articles.snapshot import digest_of, digest_term, key_ranges
from textmill.articles.sources import release
from textmill.articles.store import ArticleStore
from textmill.articles.writes import UpsertCounts
from textmill.ground.errors import UserError


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
    with pytest.raises(UserError, match="Snapshot 7 is not in this store"):
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


def test_a_renamed_sources_articles_follow_by_key_and_older_snapshots_stay_as_they_were(store: ArticleStore) -> None:
    store.upsert([_article(i) for i in range(3)], configured=["mill"])
    _later()
    before = store.take_snapshot(["mill"])
    renamed = [replace(_article(i), source="water-mill") for i in range(3)]
    assert store.upsert(renamed, configured=["water-mill"]) == UpsertCounts(unchanged=3)
    _later()
    after = store.take_snapshot(["water-mill"])
    assert (after.articles, after.digest) == (3, before.digest)
    assert {a.source for a in store.read(before)} == {"mill"}
    assert {a.source for a in store.read(after)} == {"water-mill"}


def test_an_article_that_two_sources_reach_stays_with_the_first(store: ArticleStore) -> None:
    both = ["mill", "feed"]
    store.upsert([_article(1)], both)
    store.upsert([replace(_article(1), source="feed")], both)
    assert [v["source"] for v in store.versions.find()] == ["mill"]
    _later()
    store.upsert([replace(_article(1, "The pond froze."), source="feed")], both)
    assert [v["source"] for v in store.versions.find()] == ["mill", "mill"]


def test_a_forgotten_article_leaves_its_key_and_takes_its_snapshots_with_it(store: ArticleStore) -> None:
    store.upsert([_article(i) for i in range(3)])
    _later()
    first = store.take_snapshot()
    store.upsert([_article(1, "The pond froze.")])
    _later()
    second = store.take_snapshot(["mill"])
    other = store.take_snapshot(["another"])

    done = forget(store, "https://www.mill.example/1/#top")
    assert done == Forgotten("http://mill.example/1", 2, [first.number, second.number])
    assert not [
        v for v in store.versions.find({"key": key_of(done.url)}) if v.keys() & {"url", "title", "text", "author"}
    ]
    with pytest.raises(UserError, match=rf"Snapshot {first.number} held an article that was forgotten on .* new one"):
        list(store.read(first))
    assert list(store.read(other)) == []

    elsewhere = replace(_article(1), url="http://mill.example/copy")
    assert store.upsert([_article(1), _article(2), elsewhere]) == UpsertCounts(unchanged=1, forgotten=2)
    _later()
    fresh = store.take_snapshot()
    assert {a.url for a in store.read(fresh)} == {"http://mill.example/0", "http://mill.example/2"}
    assert forget(store, done.url).versions == 0


def test_a_quarantined_source_is_left_out_of_snapshots_until_it_is_released(store: ArticleStore) -> None:
    store.upsert([_article(1), replace(_article(2), source="brook")])
    store.sources.insert_one(
        {"_id": "brook", "quarantine": {"reason": "0 articles instead of the usual 40", "time": now()}}
    )
    _later()
    assert store.take_snapshot(["mill", "brook"]).sources == {"mill": 1}
    assert store.take_snapshot().sources == {"mill": 1}
    with pytest.raises(UserError, match=r"'brook': 0 articles instead of the usual 40.*sources --release brook"):
        store.take_snapshot(["brook"])
    assert release(store, "brook") == "0 articles instead of the usual 40"
    assert store.take_snapshot(["mill", "brook"]).sources == {"mill": 1, "brook": 1}
    with pytest.raises(UserError, match="not quarantined"):
        release(store, "brook")


@pytest.mark.parametrize(
    "change",
    [
        {"robots": "allowed, noai"},
        {"reserved": "TDMRep"},
        {"licence": "CC-BY-4.0"},
        {"author": "Anna"},
        {"language": "en"},
        {"published": datetime(2024, 5, 1, tzinfo=UTC)},
    ],
)
def test_a_change_of_metadata_makes_a_version_that_shares_its_text(
    store: ArticleStore, change: dict[str, object]
) -> None:
    store.upsert([_article(1), _article(2)])
    _later()
    before = store.take_snapshot()
    changed = replace(_article(1), **change)  # type: ignore[arg-type]
    assert store.upsert([changed]) == UpsertCounts(changed=1)
    assert store.upsert([changed]) == UpsertCounts(unchanged=1)
    _later()
    after = store.take_snapshot()
    assert (after.number, after.digest) == (before.number + 1, before.digest)
    assert store.take_snapshot() == after
    name, value = next(iter(change.items()))
    read = {each.url: each for each in store.read(after)}
    assert getattr(read[changed.url], name) == value and read[changed.url].text == changed.text
    former = {each.url: each for each in store.read(before)}
    assert getattr(former[changed.url], name) != value and former[changed.url].text == changed.text
    assert store.versions.count_documents({"key": changed.key, "text": {"$ne": None}}) == 1
    assert digest_of(digest_term(a.key, a.content_hash) for a in store.read(before)) == before.digest


def test_a_store_of_before_gives_the_snapshot_it_gave(store: ArticleStore) -> None:
    store.upsert([_article(1), _article(2)])
    store.versions.update_many({}, {"$unset": {"metadata_hash": "", "reserved": ""}})  # as older versions were written
    _later()
    first = store.take_snapshot()
    store.snapshots.update_many({}, {"$unset": {"metadata": ""}})
    assert store.take_snapshot() == first
    assert store.upsert([_article(1)]) == UpsertCounts(unchanged=1)
    assert len(list(store.read(first))) == 2
    assert store.upsert([replace(_article(1), reserved="TDMRep")]) == UpsertCounts(changed=1)
    _later()
    assert store.take_snapshot().number == first.number + 1
    assert digest_of(digest_term(a.key, a.content_hash) for a in store.read(first)) == first.digest


def test_imported_metadata_replaces_what_was_stored(store: ArticleStore) -> None:
    cases = Path(__file__).parent.parent / "cases"
    for name, counts in (("metadata-changes-1", {"new": 1}), ("metadata-changes-2", {"changed": 1})):
        found = bring_in(store, read(str(cases / f"{name}.jsonl"), "papers"), ["papers"])
        assert {key: n for key, n in found.items() if n and ":" not in key} == counts
        _later()
    (article,) = store.read(store.take_snapshot())
    assert (article.licence, article.reserved) == ("CC-BY-4.0", "TDMRep")


@pytest.mark.parametrize(
    "pasted",
    [
        "http://xn--mhle-0ra.example/k%C3%A4se?id=3",
        "https://www.mühle.example/käse?id=3#top",
        "http://MÜHLE.example:80/käse?utm_source=x&id=3&fbclid=y",
        "  <http://mühle.example/k%c3%a4se/?id=3>  ",
        "mühle.example/käse?id=3",
        "http://anna:secret@mühle.example/käse?id=3",
    ],
)
def test_an_address_is_forgotten_as_it_is_pasted(store: ArticleStore, pasted: str) -> None:
    url = "http://xn--mhle-0ra.example/k%C3%A4se?id=3"
    store.upsert([replace(_article(1), url=url), _article(2)])
    done = forget(store, pasted)
    assert (done.url, done.versions, done.known) == (url, 1, True)
    assert store.upsert([replace(_article(1), url=url)]) == UpsertCounts(forgotten=1)
    assert not forget(store, "http://mill.example/elsewhere").known


def test_a_copy_of_a_forgotten_text_under_another_title_goes_too(store: ArticleStore) -> None:
    copy = replace(_article(1), url="http://mill.example/copy", title="Another title")
    store.upsert([_article(1), copy, _article(2)])
    assert forget(store, "http://mill.example/1").copies == ["http://mill.example/copy"]
    assert [v["url"] for v in store.versions.find({"text": {"$ne": None}})] == ["http://mill.example/2"]
    again = replace(copy, url="http://mill.example/third", title="A third title", text=f" {copy.text}\n")
    assert store.upsert([again]) == UpsertCounts(forgotten=1)


def test_an_article_that_had_the_same_text_once_loses_that_version_alone(store: ArticleStore) -> None:
    outage = "The site is down for an hour, and every address says so. " * 5
    store.upsert([replace(_article(number), text=outage, title=f"Down {number}") for number in (1, 2)])
    store.upsert([_article(1), _article(2)])
    done = forget(store, "http://mill.example/1")
    assert (done.versions, done.copies) == (3, [])
    left = list(store.versions.find({"text": {"$ne": None}}))
    assert [version["url"] for version in left] == ["http://mill.example/2"]
    assert left[0]["text"] == _article(2).text
    assert store.articles.count_documents({}) == 1


def test_an_address_that_is_not_known_is_blocked_in_every_spelling(store: ArticleStore) -> None:
    assert not forget(store, "mill.example/1").known
    article = replace(_article(1), url="https://mill.example/1")
    assert store.upsert([article]) == UpsertCounts(forgotten=1)
