"""`textmill sources`, `forget` and `crawl --watch`: what a person sees and what it changes."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from textmill.articles.article import Article, now
from textmill.articles.store import ArticleStore
from textmill.cli import app
from textmill.commands.crawl import seconds_in
from textmill.commands.sources import _models
from textmill.ground.errors import UserError
from textmill.registry.versions import Version

Type = Callable[..., str]


@pytest.fixture
def type_(tmp_path: Path, mongodb_uri: str, database: str, monkeypatch: pytest.MonkeyPatch) -> Type:
    """A function that types a command in a project of the sites 'mill' and 'brook' and returns what it prints."""
    names = ("mill", "brook", "pond")
    config = {
        "name": "test",
        "data_dir": str(tmp_path / "data"),
        "store": {"database": database},
        "sources": [{"name": name, "start": f"http://{name}.example/"} for name in names],
    }
    file = tmp_path / "textmill.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for a process that has used it
    monkeypatch.setenv("COLUMNS", "200")

    def type_command(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, "--config", str(file)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return type_command


def add_crawl(store: ArticleStore, source: str, articles: int, days_ago: int, complete: bool = True) -> None:
    ended = datetime(2026, 11, 20, 6, tzinfo=UTC) - timedelta(days=days_ago)
    counts = {"articles": articles, "new": articles, "changed": 0, "refused": [{"reason": "listing", "pages": 7}]}
    store.crawls.insert_one({"source": source, "started": ended, "ended": ended, "complete": complete, **counts})


def test_sources_shows_each_sites_yield_against_its_own_history(type_: Type, store: ArticleStore) -> None:
    store.upsert([Article("http://mill.example/1", "mill", "Day", "Water turns the wheel.", now())])
    for days_ago, articles in enumerate((41, 40, 38)):
        add_crawl(store, "mill", articles, days_ago)
    add_crawl(store, "brook", 60, 1)
    add_crawl(store, "brook", 2, 0, complete=False)
    store.sources.insert_one(
        {"_id": "brook", "quarantine": {"reason": "2 articles instead of the usual 60", "time": now()}}
    )
    store.pages.insert_one({"_id": "x", "url": "http://brook.example/1", "source": "brook", "refused": "consent page"})

    lines = type_("sources").splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert rows["mill"] == ["mill", "1", "2026-11-20", "06:00", "41", "0", "7", "41", "39"]
    assert rows["brook"] == ["brook", "0", "2026-11-20", "06:00", "2", "0", "7", "2", "quarantined", "60"]
    assert rows["pond"] == ["pond", "0", "never"]
    assert "'brook' is quarantined: 2 articles instead of the usual 60." in lines[-1]
    mill, brook, pond = map(json.loads, type_("sources", "--json").splitlines())
    assert (mill["source"], mill["articles"], mill["yield"], mill["usual"]) == ("mill", 1, 41, 39.0)
    assert (mill["last_crawl"], mill["refused"]) == ("2026-11-20T06:00:00+00:00", {"listing": 7})
    assert brook["quarantine"] == "2 articles instead of the usual 60"
    assert pond.keys() == mill.keys()
    assert pond["last_crawl"] is None
    assert type_("sources", "--refused", "brook") == "consent page\thttp://brook.example/1\n"

    assert "brook, which was quarantined for 2 articles" in type_("sources", "--release", "brook")
    assert "quarantined" not in type_("sources")
    with pytest.raises(UserError, match="no source 'lake'"):
        type_("sources", "--refused", "lake")


def test_forget_names_what_had_the_article(type_: Type, store: ArticleStore) -> None:
    store.upsert([Article("http://mill.example/1", "mill", "Day", "Water turns the wheel.", now() - timedelta(1))])
    store.versions.update_many({}, {"$set": {"valid_from": now() - timedelta(1)}})
    store.take_snapshot(["mill"])
    taken = json.loads(type_("snapshots", "--json"))
    assert (taken["number"], taken["articles"], taken["sources"]) == (1, 1, {"mill": 1})
    said = type_("forget", "http://mill.example/1")
    assert "http://mill.example/1: 1 text deleted from the store; it will not be fetched again" in said
    assert "Snapshots that held it and can no longer be read: 1." in said
    assert "the registry does not answer" in said
    assert store.articles.count_documents({}) == 0
    assert "its texts had been deleted before" in type_("forget", "http://mill.example/1")
    with pytest.raises(
        UserError, match=r"No article in the store has the address http://mill.example/never-seen"
    ) as no:
        type_("forget", "http://mill.example/never-seen")
    assert no.value.exit_code == 2


def test_rights_shows_what_each_source_permits_by_which_sign(type_: Type, store: ArticleStore) -> None:
    assert "no article yet" in type_("rights")
    day = Article("http://mill.example/1", "mill", "Day", "Water turns the wheel.", now())
    store.upsert(
        [
            day,
            replace(day, url="http://mill.example/2", reserved="TDMRep /policy; robots.txt forbids GPTBot, CCBot"),
            replace(day, url="http://mill.example/3", robots="allowed, noai", licence="CC0"),
            replace(day, url="http://brook.example/1", source="brook"),
        ]
    )
    lines = type_("rights").splitlines()
    assert lines[1].split() == ["brook", "1", "1", "0"]
    assert lines[2].split()[:4] == ["mill", "3", "1", "2"]
    today = f"{now():%Y-%m-%d}"
    said = "\n".join(lines)
    for sign in ("TDMRep", "robots.txt forbids GPTBot, CCBot", "robots noai"):
        assert f"{sign}: 1 since {today}" in said
    assert "licence CC0: 1" in said and "corpus.admit: unreserved" in said


def test_versions_that_learned_from_a_forgotten_article_are_named() -> None:
    versions = [
        Version("test", number, stage, "run", now(), {"snapshot": snapshot})
        for number, stage, snapshot in ((1, "Archived", "3"), (2, "Production", "4"), (3, "Staging", "12"))
    ]
    assert "trained on them: 1 (Archived), 2 (Production); train one" in _models(lambda: versions, [3, 4])
    assert _models(lambda: versions, [1, 2]) == "No version of the model was trained on them."


@pytest.mark.parametrize(("words", "seconds"), [("1d", 86_400), ("12h", 43_200), ("30m", 1800), ("1.5s", 1.5)])
def test_durations(words: str, seconds: float) -> None:
    assert seconds_in(words) == seconds


@pytest.mark.parametrize("words", ["", "1", "d", "-1d", "0h", "daily"])
def test_what_is_no_duration_is_named(words: str) -> None:
    with pytest.raises(UserError, match="is not a duration; write one like 1d"):
        seconds_in(words)
