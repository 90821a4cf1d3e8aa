"""Readers' ratings: on disk before they are acknowledged, in the store once, whatever fails between."""

import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from empty_versions import register_empty
from engine_router import served
from local_servers import free_port, start_store, stop
from registered_bundles import register
from server_processes import Server

from serving.feedback import delivery
from serving.feedback.outbox import Backlog, Outbox, Undelivered
from textmill.local_servers import servers
from textmill.monitoring.feedback_store import Approval, FeedbackStore, Rating
from textmill.registry.model_registry import ModelRegistry

RATING = Rating("fb_1", "art_1", "", 1.0, "2026-01-01T00:00:00.000+00:00", "tiny", 7, "c" * 64, "good")


def numbered(count: int) -> list[Rating]:
    return [replace(RATING, id=f"fb_{number}", text_id=f"art_{number}") for number in range(count)]


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Files of this process end at so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


def test_ratings_come_out_as_they_went_in_until_they_are_done(tmp_path: Path) -> None:
    outbox, ratings = Outbox(tmp_path), numbered(5)
    for rating in ratings:
        outbox.add(rating)
    reader = Undelivered(tmp_path)
    assert reader.batch() == reader.batch() == ratings
    reader.done()
    assert reader.batch() == []
    outbox.add(RATING)
    assert Undelivered(tmp_path).batch() == [RATING]  # after a restart it goes on where it was


def test_a_line_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    first, second = numbered(2)
    with full_disk(after=300):
        outbox = Outbox(tmp_path)
        outbox.add(first)
        with pytest.raises(OSError):
            outbox.add(second)
    outbox.add(second)
    (tmp_path / "0-broken.jsonl").write_text('{"id": 3}\nnonsense\n{"id": "fb_9"', encoding="utf-8")
    for _ in range(2):  # a delivery that dies before `done` reads them again
        assert Undelivered(tmp_path).batch() == [first, second]
    assert Backlog.of(tmp_path).aside == 2


def test_a_line_put_aside_stands_there_once_however_delivery_dies(tmp_path: Path) -> None:
    bad, other, third = numbered(3)
    for _ in range(2):
        Undelivered(tmp_path).put_aside(bad, "OverflowError: too large")
    aside = tmp_path / "put-aside.ndjson"
    whole = aside.read_bytes()
    assert (whole.count(b"\n"), aside.stat().st_mode & 0o777) == (1, 0o600)
    aside.write_bytes(whole + whole[:20])  # killed in the middle of a line
    Undelivered(tmp_path).put_aside(other, "OverflowError: too large")
    assert [json.loads(line)["rating"]["id"] for line in aside.read_text("utf-8").splitlines()] == ["fb_0", "fb_1"]
    with full_disk(after=aside.stat().st_size + 5), pytest.raises(OSError):
        Undelivered(tmp_path).put_aside(third, "OverflowError: too large")
    assert Backlog.of(tmp_path).aside == 2


def test_segments_that_are_delivered_go_away(tmp_path: Path) -> None:
    for rating in numbered(3):
        outbox = Outbox(tmp_path)  # each start begins a file of its own
        outbox.add(rating)
        outbox.close()
    reader = Undelivered(tmp_path)
    assert len(reader.batch()) == 3
    reader.done()
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


def test_a_full_disk_refuses_a_rating_and_writes_articles(model: Path, tmp_path: Path) -> None:
    with served({7: model}, tmp_path) as client:
        article = client.post("/v1/articles", json={"topic": "abc"}).json()
        with full_disk(after=1):
            refused = client.post(f"/v1/articles/{article['id']}/feedback", json={"rating": "up"})
            assert client.post("/v1/articles", json={"topic": "abc"}).status_code == 200
        (problem,) = client.get("/readyz").json()["problems"]
        assert re.match(
            r"The last rating could not be written to .* \(No space left on device\); free space on its disk", problem
        )
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert client.post(f"/v1/articles/{article['id']}/feedback", json={"rating": "up"}).status_code == 202
        said = client.get("/readyz").json()
        assert (said["problems"], said["feedback"]["waiting"], said["feedback"]["aside"]) == ([], 1, 0)
        assert "textmill_feedback_waiting 1.0" in client.get("/metrics").text


def test_a_second_thought_replaces_the_first_and_another_readers_does_not(model: Path, tmp_path: Path) -> None:
    with served({7: model}, tmp_path) as client:
        route = f"/v1/articles/{client.post('/v1/articles', json={'topic': 'abc'}).json()['id']}/feedback"
        first = client.post(route, json={"rating": "up", "user": "ann"}).json()
        second = client.post(route, json={"rating": "down", "user": "ann", "comment": "on reflection"}).json()
        other = client.post(route, json={"rating": "up", "user": "bob"}).json()
        assert first["id"] == second["id"] != other["id"]
        assert client.post("/v1/articles/art_0/feedback", json={"rating": "up"}).status_code == 404
        assert client.post(route, json={"rating": "great"}).status_code == 422
        metrics = client.get("/metrics").text
        assert 'textmill_feedback_total{rating="up",version="7"} 2.0' in metrics
        assert 'textmill_feedback_total{rating="down",version="7"} 1.0' in metrics
    raw = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "feedback").glob("*.jsonl"))
    assert "ann" not in raw.replace("channel", "")  # who it was is not kept


def test_a_rating_delivered_twice_is_stored_once(
    mongodb_uri: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    outbox = Outbox(tmp_path)
    for rating in numbered(520):  # more than a batch
        outbox.add(rating)
    options = ["--outbox", str(tmp_path), "--database", database, "--model", "tiny", "--once"]
    assert delivery.main(options) == 0
    (tmp_path / "delivered.json").unlink()  # as if the process had died before it wrote down how far it had come
    outbox.add(replace(RATING, id="fb_0", text_id="art_0", reward=0.0))
    assert delivery.main(options) == 0
    store = FeedbackStore.connect(mongodb_uri, database)
    assert len(store.all()) == 520
    assert store.approvals("tiny") == {7: Approval(519, 1)}


def test_what_readers_think_becomes_tags_of_the_version(
    mongodb_uri: str, mlflow_uri: str, database: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    registry = ModelRegistry(mlflow_uri, f"rated-{database}")
    number = register(registry, model)
    outbox = Outbox(tmp_path)
    for place, rating in enumerate(numbered(4)):
        outbox.add(replace(rating, model=registry.name, version=number, reward=float(place > 0)))
    options = ["--outbox", str(tmp_path), "--database", database, "--model", registry.name, "--once"]
    assert delivery.main(options) == 0
    found = registry.version(number).tags
    assert (found["feedback_up"], found["feedback_down"], found["feedback_share"]) == ("3", "1", "0.750")


def test_ratings_given_while_mlflow_is_down_are_told_when_it_is_back(
    mongodb_uri: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    data, outbox, store = tmp_path / "data", Outbox(tmp_path), FeedbackStore.connect(mongodb_uri, database)
    uri = servers.up(data, tensorboard=False).mlflow
    registry = ModelRegistry(uri, "told-later")
    register_empty(registry, 2)
    command = [
        sys.executable,
        "-P",
        "-m",
        "serving.feedback.delivery",
        "--outbox",
        str(tmp_path),
        "--database",
        database,
    ]
    ids = itertools.count()

    def deliver() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*command, "--model", registry.name], env={**os.environ, "MLFLOW_TRACKING_URI": uri})

    def rate(version: int, *rewards: float) -> None:
        for reward in rewards:
            text = f"art_{next(ids)}"
            outbox.add(replace(RATING, id=text, text_id=text, model=registry.name, version=version, reward=reward))

    def stored(count: int) -> bool:
        return len(store.all()) == count

    def told(version: int, up: int, down: int) -> bool:
        tags = registry.version(version).tags
        return (tags.get("feedback_up"), tags.get("feedback_down")) == (str(up), str(down))

    delivery = deliver()
    try:
        rate(1, 1, 1, 1)
        wait_until(lambda: told(1, 3, 0))
        kill_mlflow(data)
        rate(1, 0, 0)
        rate(2, 1)
        wait_until(lambda: stored(6))
        delivery.kill()  # what it knows of MLflow goes with it
        delivery.wait()
        delivery = deliver()
        rate(2, 1)
        wait_until(lambda: stored(7))
        assert servers.up(data, tensorboard=False).mlflow == uri
        wait_until(lambda: told(1, 3, 2) and told(2, 2, 0))
    finally:
        delivery.kill()
        delivery.wait()
        servers.down(data)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 180  # between two attempts lie up to thirty seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def kill_mlflow(data: Path) -> None:
    """End the server that `local.up` started as a power cut would."""
    entry = json.loads((data / "servers.json").read_text(encoding="utf-8"))["mlflow"]
    process = psutil.Process(entry["pid"])
    family = [process, *process.children(recursive=True)]
    for each in family:
        each.kill()
    psutil.wait_procs(family, timeout=60)


def test_ratings_given_while_the_store_is_down_arrive_when_it_is_back(
    start: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    uri = f"mongodb://127.0.0.1:{port}"
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", uri)
    server = start()
    ids = []
    for seed in range(3):
        article = server.post("/v1/articles", json={"topic": "abc", "seed": seed}).json()
        answer = server.post(f"/v1/articles/{article['id']}/feedback", json={"rating": "up"})
        assert answer.status_code == 202  # nobody waits for the store, which is started later
        ids.append(answer.json()["id"])
    store = start_store(tmp_path, port)
    try:
        ratings = FeedbackStore.connect(uri, "textmill")
        end = time.monotonic() + 180
        while len(stored := ratings.all()) < 3:
            assert time.monotonic() < end, server.log.read_text(encoding="utf-8")
            time.sleep(0.2)
        assert sorted(each["_id"] for each in stored) == sorted(ids)
        assert {each["model"] for each in stored} == {"tiny"}
    finally:
        stop(store)


def test_the_server_loads_no_driver_of_a_store() -> None:
    code = "import sys, serving.app, serving.feedback.ratings, serving.feedback.outbox; print('pymongo' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert ran.stdout.strip() == "False"


def test_a_rating_that_no_store_takes_is_put_aside_and_holds_up_no_other(
    tmp_path: Path, mongodb_uri: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    outbox, good = Outbox(tmp_path), numbered(3)
    for rating in (good[0], replace(RATING, id="fb_bad", version=10**30), *good[1:]):
        outbox.add(rating)
    assert delivery.Delivery(Undelivered(tmp_path), database, ["tiny"]).deliver() == 4
    stored = {each["_id"] for each in FeedbackStore.connect(mongodb_uri, database).all()}
    assert stored == {rating.id for rating in good}
    (said,) = Backlog.of(tmp_path).problems()
    assert said.startswith("1 ratings could not be stored;")
    aside = json.loads((tmp_path / "put-aside.ndjson").read_text(encoding="utf-8"))
    assert (aside["rating"]["id"], "OverflowError" in aside["reason"]) == ("fb_bad", True)
    assert Undelivered(tmp_path).batch() == []


def test_ratings_that_wait_for_long_are_a_problem(tmp_path: Path) -> None:
    assert Backlog.of(tmp_path / "absent").problems() == []
    then = datetime.now(UTC) - timedelta(seconds=1000)
    Outbox(tmp_path / "new").add(replace(RATING, time=datetime.now(UTC).isoformat()))
    assert Backlog.of(tmp_path / "new").problems() == []
    outbox = Outbox(tmp_path)
    for time_ in (then, datetime.now(UTC)):  # a later one does not hide the oldest
        outbox.add(replace(RATING, id=str(time_), time=time_.isoformat()))
    assert "waited 17 minutes" in Backlog.of(tmp_path).problems()[0]
