"""Every kind of error, on every family of routes, is a body that the schema allows and the family's clients know."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

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
