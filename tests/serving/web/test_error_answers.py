"""Every kind of error, on every family of routes, is a body that the schema allows and the family's clients know."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_router import served
from fastapi import FastAPI
from fastapi.testclient import TestClient
from fuzz import RIGHT, spoil

from serving.feedback.ratings import NotTakenDown
from serving.interface import errors
from serving.interface.metrics import Metrics
from serving.interface.schemas import ErrorAnswer
from serving.web import error_answers
from serving.writing.templates import WrongParameters
from textmill.ground.errors import TextmillError

RAISED: dict[str, tuple[TextmillError, int, str]] = {
    "too-long": (errors.TooLong("Too long."), 422, "invalid_request"),
    "parameters": (WrongParameters("Wrong.", "template"), 422, "invalid_request"),
    "refused": (errors.WorkerRefused("No.", "logprobs"), 422, "invalid_request"),
    "unknown": (errors.UnknownModel("No such model."), 404, "not_found"),
    "full": (errors.QueueFull("Full.", 7), 429, "too_many_requests"),
    "not-ready": (errors.NotReady("Not yet."), 503, "not_ready"),
    "interrupted": (errors.Interrupted("Ended."), 503, "not_ready"),
    "not-taken-down": (NotTakenDown("Not kept."), 503, "not_ready"),
    "deadline": (errors.DeadlinePassed("Late."), 504, "deadline_passed"),
}
FAMILIES = ("/v1/articles", "/v1/completions", "/api/v1.0/predictions")


def _client() -> TestClient:
    app = FastAPI()
    error_answers.handle(app, Metrics(lambda: 0, lambda: 0))
    for family in FAMILIES:

        @app.get(family + "/{name}")
        def fail(name: str) -> None:
            raise RAISED[name][0] if name in RAISED else ValueError("a mistake of ours")

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [*RAISED, "fault"])
def test_every_error_on_every_family_is_answered_as_its_clients_expect(family: str, name: str) -> None:
    answer = _client().get(f"{family}/{name}")
    status, kind = RAISED[name][1:] if name in RAISED else (500, "server_error")
    said = ErrorAnswer.model_validate(answer.json()).error
    if family == "/v1/completions":
        known = error_answers.KINDS[kind]
        assert answer.status_code == (400 if status == 422 else status)
        assert (said.type, said.code) == (known.openai_type, known.openai_code)
    else:
        assert (answer.status_code, said.type, said.code) == (status, kind, None)
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    if name == "full":
        assert answer.headers["Retry-After"] == "7"


def test_every_error_between_routes_and_workers_has_a_kind() -> None:
    named = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TextmillError)}
    assert named - {TextmillError, errors.WrongField} == {type(error) for error, *_ in RAISED.values()} - {
        NotTakenDown,
        WrongParameters,
    }


@pytest.mark.parametrize("path", FAMILIES)
def test_a_missing_key_and_a_spent_budget_have_types_and_codes(path: str) -> None:
    for name in ("authentication_error", "too_many_requests"):
        answer = error_answers.answer(path, name, "No.")
        body = ErrorAnswer.model_validate_json(bytes(answer.body)).error
        known = error_answers.KINDS[name]
        openai = path == "/v1/completions"
        assert (body.type, body.code) == ((known.openai_type, known.openai_code) if openai else (name, None))


JSON = {"Content-Type": "application/json"}
WRONG = [
    ("/v1/completions", {"prompt": 5}, "prompt", "prompt must be text or a list."),
    ("/v1/completions", {"prompt": ["a", 5]}, "prompt.1", "prompt.1 must be text or a list."),
    ("/v1/completions", {"prompt": [[1], [-2]]}, "prompt.1.0", "prompt.1.0 must be at least 0."),
    ("/v1/completions", {"suffix": "x"}, "suffix", "suffix is not supported; leave it out."),
    ("/v1/completions", {"stop": 5}, "stop", "stop must be text or a list."),
    ("/v1/completions", {"stop": ["a"] * 5}, "stop", "stop must have at most 4 items."),
    ("/v1/completions", {"temprature": 1}, "temprature", "'temprature' is not a field of this request."),
    ("/v1/completions", 5, None, "The body must be a JSON object, sent with 'Content-Type: application/json'."),
    ("/v1/articles", {}, None, "Give either a topic or a template."),
    ("/v1/articles", {"topic": None}, "topic", "topic must be text."),
    ("/v1/articles", {"topic": "a", "temperature": 9}, "temperature", "temperature must be at most 2.0."),
    ("/predict", {"data": {"ndarray": [5]}}, "data.ndarray.0", "data.ndarray.0 must be text or a list."),
    (
        "/predict",
        {"data": {"names": ["topic", "seed"], "ndarray": [["a", "b"]]}},
        "data.ndarray.0.seed",
        "data.ndarray.0.seed must be a whole number.",
    ),
    (
        "/predict",
        {"data": {"names": ["\ud800"], "ndarray": [["a"]]}},
        "data.names",
        "data.names: '?' is not a column; use deadline_s, max_tokens, model, repetition_penalty, seed, temperature, "
        "template, top_k, top_p, topic, user.",
    ),
    ("/send-feedback", {"response": {}, "reward": "x"}, "reward", "reward must be a number."),
    ("/v1/articles/art_1/feedback", {"rating": "great"}, "rating", "rating must be 'up' or 'down'."),
]


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served({7: model}, tmp_path_factory.mktemp("errors")) as made:
        yield made


@pytest.mark.parametrize(("path", "body", "param", "message"), WRONG)
def test_what_is_wrong_with_a_field_is_said_in_words_of_ours(
    client: TestClient, path: str, body: Any, param: str | None, message: str
) -> None:
    error = client.post(path, content=json.dumps(body), headers=JSON).json()["error"]
    assert (error["param"], error["message"]) == (param, message)


def test_no_kind_of_problem_that_our_schemas_can_have_is_said_in_pydantics_words(client: TestClient) -> None:
    by, said = random.Random(1), set()
    for _ in range(600):
        path = by.choice([each for each in RIGHT if each != "/v1/articles/art_1/feedback"])
        body = json.dumps(spoil(by.choice(RIGHT[path]), by))
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        if answer.status_code in (400, 422):
            said.add(answer.json()["error"]["message"])
    assert len(said) > 30
    for message in said:
        assert not re.search(
            r"constrained|[Ii]nput should|valid (string|integer|dict)|object is not|List should", message
        )
        assert not message.endswith("has a value that is not allowed."), message
