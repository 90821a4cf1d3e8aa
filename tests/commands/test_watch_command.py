"""Watching with the real parts: store, MLflow, ratings, and a model that reads what was crawled since it learned."""

import json
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from empty_versions import register_bundle
from parrots import write_parrot

from textmill.articles.article import Article, now
from textmill.articles.store import ArticleStore
from textmill.commands import status
from textmill.commands.project import Project
from textmill.commands.watch import Watcher, keep_watching
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import characters
from textmill.ground.errors import UserError
from textmill.monitoring import decision_log
from textmill.monitoring.feedback_store import FeedbackStore, Rating, rating_id
from textmill.registry.model_registry import ModelRegistry

SETTINGS = """
name: {name}
sources: [{{name: mill, start: "http://127.0.0.1:9/"}}]
store: {{database: {name}}}
watch: {{new_articles: 0, at_most_days: 0, drift_articles: 4, drift_percent: 10, cooldown_hours: 0, approval_percent: 50, ratings: 3}}
"""


def _article(number: int, letter: str) -> Article:
    return Article(f"http://mill.example/{letter}{number}", "mill", letter * 3, letter * 120 + f"{number}", now())


@dataclass
class World:
    """A project with one version in Production, which knows the letter a and nothing else."""

    project: Project
    store: ArticleStore
    registry: ModelRegistry
    ratings: FeedbackStore

    def crawl(self, letter: str, numbers: range) -> None:
        self.store.upsert([_article(number, letter) for number in numbers])
        time.sleep(0.005)  # a snapshot leaves out what was stored in its own millisecond


@pytest.fixture
def world(
    tmp_path: Path,
    database: str,
    store: ArticleStore,
    mongodb_uri: str,
    mlflow_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    (tmp_path / "textmill.yaml").write_text(SETTINGS.format(name=database), encoding="utf-8")
    project = Project.load(tmp_path / "textmill.yaml")
    world = World(project, store, project.registry, FeedbackStore.connect(mongodb_uri, database))
    world.crawl("a", range(6))
    snapshot = store.take_snapshot(["mill"])
    letters = characters(["ab0123456789\n"])
    write_parrot(tmp_path / "parrot", Architecture(letters.vocabulary, 32, 1, 2, 32), letters, "a")
    number = register_bundle(
        world.registry, tmp_path / "parrot", {"snapshot": str(snapshot.number), "bits_per_byte": "0.6000"}
    )
    world.registry.promote(number, "the first")
    return world


def test_a_change_of_topic_is_noticed_by_the_served_model_and_fires_once(world: World) -> None:
    watcher = Watcher(world.project)
    assert watcher.look()[1] == []
    world.crawl("a", range(10, 15))
    figures, decisions = watcher.look()
    assert figures.drift_articles == 5
    assert decisions == []
    world.crawl("b", range(10, 15))
    figures, (decision,) = watcher.look()
    assert decision.alarm == "drift"
    assert figures.bits_per_byte is not None and figures.bits_per_byte > 2
    assert watcher.look()[1] == []
    assert Watcher(world.project).look()[1] == []  # another process knows of it too
    (kept,) = watcher.log.decisions(10)
    assert kept["figures"]["drift_articles"] == 10
    assert "bits per byte on 10 new articles" in kept["why"]


def _stage_better(world: World, tmp_path: Path) -> int:
    """Put a version into Staging that is better than the first, for a watcher that may deploy it."""
    file = world.project.file
    file.write_text(file.read_text("utf-8").replace("watch: {", "watch: {deploy: if-better, "), "utf-8")
    world.project = Project.load(file)
    tags = {"snapshot": "1", "bits_per_byte": "0.5000", "reference": "version 1 in Production 0.6000"}
    number = register_bundle(world.registry, tmp_path / "parrot", tags)
    world.registry.promote(number, "blessed", stage="Staging")
    return number


def test_a_deployment_and_a_training_due_at_once_end_with_the_newest_in_production(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stage_better(world, tmp_path)
    file = world.project.file
    file.write_text(file.read_text("utf-8").replace("new_articles: 0", "new_articles: 3"), "utf-8")
    world.crawl("a", range(20, 25))

    def train(watcher: Watcher) -> str:
        """As a run does: the new version is judged against what is in Production by now."""
        present = world.registry.resolve("Production")
        assert present
        reference = f"version {present.number} in Production 0.5000"
        snapshot = world.store.take_snapshot(["mill"]).number
        tags = {"snapshot": str(snapshot), "bits_per_byte": "0.4000", "reference": reference}
        number = register_bundle(world.registry, tmp_path / "parrot", tags)
        world.registry.promote(number, "blessed", stage="Staging")
        return f"version {number} is in Staging"

    monkeypatch.setattr(Watcher, "_train", train)
    said: list[str] = []
    keep_watching(Project.load(file), Event(), once=True, say=said.append)
    assert [line.split()[2] for line in said if not line.startswith("  ")] == ["deploy:", "train:", "deploy:"]
    assert [version.stage for version in world.registry.versions()] == ["Production", "Archived", "Archived"]


def test_a_deployment_that_failed_is_tried_again(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = _stage_better(world, tmp_path)
    with monkeypatch.context() as failing:
        failing.setattr(ModelRegistry, "promote", _refuse)
        with pytest.raises(UserError, match="does not answer"):
            keep_watching(world.project, Event(), once=True, say=lambda _: None)
    keep_watching(world.project, Event(), once=True, say=lambda _: None)
    assert world.registry.version(number).stage == "Production"


def _refuse(*_: object) -> None:
    raise UserError("MLflow does not answer")


def test_what_a_killed_watcher_did_not_reach_is_done_by_the_next(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = _stage_better(world, tmp_path)
    _, (decision,) = Watcher(world.project).look(act=True)  # and is killed here
    assert decision.version == number
    other = Watcher(world.project)
    assert other.look(act=True)[1] == []  # it may be acting
    monkeypatch.setattr(decision_log, "_SILENT", timedelta(0))  # two minutes later
    _, (again,) = other.look(act=True)
    assert again.version == number
    with other.acting(again):
        other.act(again)
    assert other.look(act=True)[1] == []
    assert world.registry.version(number).stage == "Production"


def test_ctrl_c_in_a_training_leaves_it_due(world: World) -> None:
    file = world.project.file
    file.write_text(file.read_text("utf-8").replace("new_articles: 0", "new_articles: 3"), "utf-8")
    world.crawl("a", range(20, 25))
    watcher = Watcher(Project.load(file))
    _, (decision,) = watcher.look(about={"train"}, act=True)
    with pytest.raises(KeyboardInterrupt), watcher.acting(decision):
        raise KeyboardInterrupt
    assert watcher.look(about={"train"})[1][0].what == "train"


def test_imported_articles_are_counted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.project.file
    settings = file.read_text("utf-8").replace('sources: [{name: mill, start: "http://127.0.0.1:9/"}]', "")
    file.write_text(settings + "corpus: {imported: [mill]}\n", "utf-8")
    project = Project.load(file)
    figures, _ = Watcher(project).look()
    assert (figures.articles, figures.new_articles) == (6, 0)
    world.crawl("a", range(20, 25))
    assert Watcher(project).look()[0].new_articles == 5
    status.show(project)
    assert re.search(r"^mill +11$", capsys.readouterr().out, re.MULTILINE)


def test_of_two_that_look_at_once_one_decides(world: World) -> None:
    watcher = Watcher(world.project)
    figures, _ = watcher.look()
    state, looks = watcher.log.state()
    assert watcher.log.looked(figures, state, looks)
    assert not watcher.log.looked(figures, state, looks)


def test_bad_ratings_fire_once(world: World) -> None:
    watcher = Watcher(world.project)
    ratings = [
        Rating(rating_id("t", str(i)), "t", str(i), 0.0, now().isoformat(), world.registry.name, 1, "")
        for i in range(3)
    ]
    world.ratings.put(ratings)
    (decision,) = watcher.look()[1]
    assert decision.why == "0% of 3 ratings of version 1 approve; at least 50% was asked"
    assert watcher.look()[1] == []


def test_a_look_asks_for_what_is_in_staging_and_status_shows_it(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = {"snapshot": "1", "bits_per_byte": "0.5000", "reference": "version 1 in Production 0.6000"}
    number = register_bundle(world.registry, tmp_path / "parrot", tags)
    world.registry.promote(number, "blessed", stage="Staging")
    said: list[str] = []
    keep_watching(world.project, Event(), once=True, say=said.append)
    keep_watching(world.project, Event(), once=True, say=said.append)
    assert "ask: version 2 is better than version 1 in Production" in said[0]
    assert said[1:] == ["  Next: textmill promote 2", "Nothing to do: 0 new articles."]
    assert world.registry.version(2).stage == "Staging"
    status.show(world.project)
    assert "version 2 is better than version 1 in Production" in capsys.readouterr().out


def test_a_better_version_is_deployed_where_that_is_wanted(world: World, tmp_path: Path) -> None:
    file = world.project.file
    file.write_text(file.read_text("utf-8").replace("watch: {", "watch: {deploy: if-better, "), "utf-8")
    tags = {"snapshot": "1", "bits_per_byte": "0.5000", "reference": "version 1 in Production 0.6000"}
    number = register_bundle(world.registry, tmp_path / "parrot", tags)
    world.registry.promote(number, "blessed", stage="Staging")
    keep_watching(Project.load(file), Event(), once=True, say=lambda _: None)
    assert world.registry.version(2).stage == "Production"
    last = next(move for move in world.registry.history() if move.version == 2 and move.stage == "Production")
    assert last.why.startswith("textmill watch: version 2 is better")
    assert json.loads(json.dumps(last.figures))["bits_per_byte"] == "0.5000"
