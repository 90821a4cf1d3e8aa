"""API keys: who is let in, how often, and what the file may hold."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_router import served
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute
from typer.testing import CliRunner

from serving.interface.errors import QueueFull
from serving.web import api_keys
from textmill.cli import app
from textmill.ground.api_keys import make
from textmill.ground.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def key(file: Path) -> str:
    made = make("newsroom")
    file.write_text(f"# who may write\n\n{made.line}\n", encoding="utf-8")
    return made.key


@pytest.fixture
def client(model: Path, tmp_path: Path, file: Path, key: str) -> Iterator[TestClient]:
    with served({7: model}, tmp_path, keys_file=file, requests_per_minute=3, cors=["https://news.example"]) as made:
        yield made


def _paths(routes: list[BaseRoute]) -> list[tuple[str, str]]:
    found = []
    for route in routes:
        path = getattr(route, "path", "")
        for method in getattr(route, "methods", None) or ["GET"]:
            found.append((method, path.replace("{article_id}", "art_1").replace("{model:path}", "tiny")))
        found += _paths(getattr(getattr(route, "original_router", None), "routes", []))
    return [(method, path) for method, path in found if path]


def test_every_route_but_health_refuses_without_a_key(client: TestClient, key: str) -> None:
    schema = client.get("/openapi.json", headers={"Authorization": f"Bearer {key}"}).json()
    documented = {(verb.upper(), path) for path, verbs in schema["paths"].items() for verb in verbs}
    routes = {*_paths(client.app.routes), *documented, ("GET", "/static/app.js"), ("GET", "/nothing")}  # type: ignore[attr-defined]
    assert {("POST", "/v1/articles"), ("POST", "/v1/completions"), ("GET", "/metrics"), ("GET", "/")} <= routes
    for method, path in routes:
        response = client.request(method, path)
        if path in ("/healthz", "/readyz"):
            assert response.json()["status"] in ("ok", "ready")
            assert "model" not in response.json()
        else:
            assert response.status_code == 401, (method, path)
            types = ("authentication_error", "invalid_request_error")  # the latter is OpenAI's
            assert method == "HEAD" or response.json()["error"]["type"] in types
            assert "default-src 'none'" in response.headers["content-security-policy"]


@pytest.mark.parametrize("wrong", ["", "tm_", "tm_" + "a" * 43, "ä" * 10, "a" * 5000])
def test_a_wrong_key_is_refused(client: TestClient, wrong: str) -> None:
    assert client.get("/readyz", headers={"Authorization": f"Bearer {wrong}".encode()}).json() == {"status": "ready"}
    assert client.get("/v1/models", headers={"Authorization": f"Bearer {wrong}".encode()}).status_code == 401


def test_a_key_is_taken_as_clients_and_browsers_send_it(client: TestClient, key: str) -> None:
    basic = base64.b64encode(f"anyone:{key}".encode()).decode()
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}, {"Authorization": f"Basic {basic}"}):
        assert client.get("/v1/models", headers=headers).status_code == 200
    assert "Basic" in client.get("/").headers["www-authenticate"]
    assert "model" in client.get("/readyz", headers={"X-API-Key": key}).json()


def test_a_key_has_so_many_requests_a_minute(client: TestClient, key: str) -> None:
    headers = {"X-API-Key": key}
    answers = [client.post("/v1/articles", json={"topic": "abc"}, headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 21
    assert client.get("/v1/models", headers=headers).status_code == 200


def test_a_budget_refills_evenly() -> None:
    now = 0.0
    budget = api_keys.Budget(60, lambda: now)
    assert [budget.wait_s("a") for _ in range(60)] == [0.0] * 60
    assert budget.wait_s("a") == pytest.approx(1.0)
    assert budget.wait_s("b") == 0.0
    now = 1.5
    assert budget.wait_s("a") == 0.0
    assert budget.wait_s("a") == pytest.approx(0.5)


def test_a_key_taken_out_of_the_file_is_refused_and_a_new_one_let_in(file: Path, key: str) -> None:
    now = 0.0
    held = api_keys.Keys(file, lambda: now)
    assert held.known(key) == "newsroom"
    other = make("archive")
    file.write_text(other.line, encoding="utf-8")
    now = 2.0
    assert (held.known(key), held.known(other.key)) == (None, "archive")
    file.write_text("nonsense", encoding="utf-8")  # half a file on its way must not lock everybody out
    now = 4.0
    assert held.known(other.key) == "archive"


def slow_line(password: str) -> str:
    salt = b"0123456789abcdef"
    slow = hashlib.scrypt(password.encode(), salt=salt, n=16384, r=8, p=1, dklen=32)
    return f"desk:scrypt:{salt.hex()}:{slow.hex()}\n"


def test_a_password_with_a_slow_hash_is_a_key_too_and_is_hashed_once(file: Path) -> None:
    file.write_text(slow_line("correct horse"), encoding="utf-8")
    held = api_keys.Keys(file)
    for key, name in (("correct horse", "desk"), ("wrong horse", None)):
        with pytest.raises(api_keys.Unknown):
            held.known(key)
        assert asyncio.run(held.verified(key)) == name
        assert held.known(key) == name


def test_keys_that_need_a_slow_hash_wait_in_a_short_queue_and_no_other_key_does(file: Path, key: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + slow_line("correct horse"), encoding="utf-8")
    held = api_keys.Keys(file)

    async def at_once() -> list[object]:
        checks = [asyncio.create_task(held.verified(f"wrong {number}")) for number in range(30)]
        await asyncio.sleep(0)
        assert held.known(key) == "newsroom"
        return await asyncio.gather(*checks, return_exceptions=True)

    found = asyncio.run(at_once())
    assert found[:8] == [None] * 8
    assert all(isinstance(each, QueueFull) for each in found[8:])


def test_an_address_that_sends_wrong_keys_is_told_to_wait_and_its_right_keys_are_taken(
    model: Path, tmp_path: Path, file: Path, key: str
) -> None:
    file.write_text(file.read_text(encoding="utf-8") + slow_line("correct horse"), encoding="utf-8")
    with served({7: model}, tmp_path, keys_file=file) as client:
        desk = {"X-API-Key": "correct horse"}
        assert client.get("/v1/models", headers=desk).status_code == 200
        statuses = [client.get("/v1/models", headers={"X-API-Key": f"w{number}"}).status_code for number in range(60)]
        assert statuses[:19] == [401] * 19 and 429 in statuses
        assert (
            client.get("/v1/models", headers={"X-API-Key": "another"}).json()["error"]["code"] == "rate_limit_exceeded"
        )
        for headers in (desk, {"X-API-Key": key}):
            assert client.get("/v1/models", headers=headers).status_code == 200
        assert client.get("/healthz", headers={"X-API-Key": "another"}).status_code == 200


@pytest.mark.parametrize(
    "line", ["newsroom", "newsroom:sha256:abc", "a b:sha256:" + 64 * "0", "x:md5:" + 32 * "0", "x:scrypt:0:1"]
)
def test_a_line_that_is_no_key_is_named(file: Path, line: str) -> None:
    file.write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2 is not an API key"):
        api_keys.Keys(file)


def test_a_missing_file_stops_the_server(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"serve\.keys_file"):
        api_keys.Keys(tmp_path / "absent")


def test_a_named_front_end_may_ask_from_a_browser_and_no_other(client: TestClient, key: str) -> None:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    allowed = client.options("/v1/articles", headers={"Origin": "https://news.example", **wanted})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://news.example"
    other = client.options("/v1/articles", headers={"Origin": "https://evil.example", **wanted})
    assert "access-control-allow-origin" not in other.headers
    answer = client.get("/v1/models", headers={"Origin": "https://news.example", "X-API-Key": key})
    assert answer.headers["access-control-allow-origin"] == "https://news.example"


def test_the_command_prints_a_key_once_and_its_line(file: Path) -> None:
    shown = CliRunner().invoke(app, ["key", "newsroom"])
    assert shown.exit_code == 0
    key, line = re.search(r"tm_\S+", shown.output)[0], re.search(r"newsroom:sha256:\w+", shown.output)[0]  # type: ignore[index]
    file.write_text(line, encoding="utf-8")
    assert api_keys.Keys(file).known(key) == "newsroom"
    assert key not in line
