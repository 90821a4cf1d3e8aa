"""Seldon's protocol, as its clients speak it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_router import served
from fastapi.testclient import TestClient

from serving.feedback.outbox import Undelivered


@pytest.fixture
def client(model: Path, tmp_path: Path) -> Iterator[TestClient]:
    with served({7: model}, tmp_path) as made:
        yield made


def predict(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_each_row_becomes_an_article(client: TestClient) -> None:
    answer = predict(client, data={"ndarray": [["abc"], ["de"]]})
    assert answer["data"]["names"] == ["text"]
    assert len(answer["data"]["ndarray"]) == 2
    assert all(len(row) == 1 and row[0] for row in answer["data"]["ndarray"])
    assert answer["meta"]["puid"]
    assert answer["meta"]["tags"]["version"] == 7
    assert [each["id"][:4] for each in answer["meta"]["tags"]["articles"]] == ["art_", "art_"]


def test_names_say_what_the_columns_are(client: TestClient) -> None:
    body = {"data": {"names": ["topic", "seed", "max_tokens"], "ndarray": [["abc", 5.0, 12], ["abc", 5, 12.0]]}}
    first, second = predict(client, **body)["data"]["ndarray"]
    assert first == second
    written = client.post("/v1/articles", json={"topic": "abc", "seed": 5, "max_tokens": 12}).json()
    assert first == [written["text"]]


def test_a_single_text_is_answered_with_one(client: TestClient) -> None:
    answer = predict(client, strData="abc", meta={"puid": "order-1", "routing": {"a": 1}})
    assert answer["strData"]
    assert answer["meta"]["puid"] == "order-1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": {"ndarray": []}},
        {"data": {"ndarray": [["a", "b"]]}},
        {"data": {"ndarray": [[""]]}},
        {"data": {"ndarray": [[3]]}},
        {"data": {"names": ["subject"], "ndarray": [["a"]]}},
        {"data": {"names": ["topic", "seed"], "ndarray": [["a", 1.5]]}},
        {"data": {"tensor": {"shape": [1], "values": [1]}}},
        {"data": {"ndarray": [["a"]]}, "strData": "a"},
    ],
)
def test_a_table_that_does_not_fit_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post("/predict", json=body)
    assert response.status_code == 422
    assert response.json()["error"]["message"].endswith(".")


def test_feedback_rates_every_article_of_the_prediction(client: TestClient, tmp_path: Path) -> None:
    answer = predict(client, data={"ndarray": [["abc"], ["de"]]})
    body = {"request": {"data": {}}, "response": answer, "reward": 0.9, "truth": {"data": {"ndarray": [["better"]]}}}
    response = client.post("/send-feedback", json=body)
    ids = [each["id"] for each in answer["meta"]["tags"]["articles"]]
    assert response.json()["meta"]["tags"]["rated"] == ids
    kept = Undelivered(tmp_path / "feedback").batch()
    assert [(each.text_id, each.version, each.reward, each.liked) for each in kept] == [(i, 7, 0.9, True) for i in ids]
    assert "better" in kept[0].truth


def test_feedback_after_a_restart_goes_by_what_the_answer_said(client: TestClient, tmp_path: Path) -> None:
    tags = {"name": "tiny", "version": 6, "stage": "Production", "checksum": "c" * 64}
    assert client.post(
        "/send-feedback", json={"response": {"meta": {"puid": "p1", "tags": tags}}, "reward": 0}
    ).is_success
    (kept,) = Undelivered(tmp_path / "feedback").batch()
    assert (kept.text_id, kept.version, kept.liked) == ("p1", 6, False)
    assert client.post("/send-feedback", json={"response": {"meta": {"puid": "p1"}}, "reward": 0}).status_code == 422
    assert client.post("/send-feedback", json={"response": {"meta": {}}, "reward": 1}).status_code == 422
