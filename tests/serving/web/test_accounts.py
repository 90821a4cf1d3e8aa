"""Every request has an id and one line in the log, with who asked, which version wrote, and how much."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from server_processes import PATIENCE_S, Server

from textmill.ground.api_keys import make


@pytest.fixture(scope="module")
def keyed(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, dict[str, str]]:
    """A server that asks for keys and logs JSON, and headers with a key."""
    made = make("newsroom")
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(made.line, encoding="utf-8")
    return start("--log", "json", keys_file=str(file)), {"X-API-Key": made.key}


def lines(server: Server) -> list[dict[str, Any]]:
    """The log's lines; each is JSON."""
    whole, _, _ = server.log.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    """The request's line, which is written once the answer has gone out."""
    end = time.monotonic() + PATIENCE_S
    while not (found := [line for line in lines(server) if line.get("request_id") == request_id]):
        assert time.monotonic() < end
        time.sleep(0.02)
    (line,) = found
    return line


def test_a_request_has_one_line_with_what_it_was_and_cost(keyed: tuple[Server, dict[str, str]]) -> None:
    server, key = keyed
    asked = {"topic": "decade abba", "max_tokens": 5, "temperature": 0}
    for number, stream in enumerate((False, True)):
        headers = {**key, "X-Request-ID": f"mine-{number}"}
        answer = httpx.post(f"{server.url}/v1/articles", json={**asked, "stream": stream}, headers=headers, timeout=60)
        assert answer.headers["X-Request-ID"] == f"mine-{number}"
        line = line_of(server, f"mine-{number}")
        assert (line["status"], line["key"], line["tokens"], line["path"]) == (200, "newsroom", 5, "/v1/articles")
        assert line["ms"] > 0 and line["level"] == "INFO" and line["time"].endswith("+00:00")
    assert "decade" not in server.log.read_text(encoding="utf-8")


def test_an_id_that_is_none_is_replaced_and_refusals_have_one_too(keyed: tuple[Server, dict[str, str]]) -> None:
    server, key = keyed
    for given in ("", "a b", "a" * 200, '"}'):
        answer = httpx.get(f"{server.url}/v1/nothing", headers={"X-Request-ID": given})
        assert answer.status_code == 401
        assert re.fullmatch("req_[0-9a-f]{24}", answer.headers["X-Request-ID"])
        assert line_of(server, answer.headers["X-Request-ID"])["status"] == 401
    before = len(lines(server))
    for path in ("/healthz", "/readyz", "/metrics", "/static/app.js"):
        assert httpx.get(f"{server.url}{path}", headers=key).status_code == 200
    assert len(lines(server)) == before  # probes are not told unless they fail


def test_an_exception_is_one_line_of_json_too() -> None:
    code = (
        "import logging; from serving.interface import log; log.begin('json'); "
        "logging.getLogger('a').exception('%s failed', 'x', exc_info=ValueError('y'))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = json.loads(ran.stderr)
    assert (said["level"], said["message"], said["exception"]) == ("ERROR", "x failed", "ValueError: y")
