"""Malformed requests by the thousand, straight into the application: none may be answered with 500.

    python tests/serving/fuzz.py [COUNT] [SEED]

Half are made here, by spoiling requests that are right: values of wrong kinds and sizes, fields missing and invented,
bytes that are no JSON, headers that lie. The other half schemathesis makes from /openapi.json.
"""

import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemathesis
from engine_router import EngineRouter, config
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings

from serving.app import create_app

RIGHT: dict[str, list[dict[str, Any]]] = {
    "/v1/articles": [
        {"topic": "abc", "max_tokens": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 1, "stop": ["."]},
        {"template": "report", "parameters": {"event": "abc", "place": "d"}, "n": 2, "stream": True, "user": "ann"},
    ],
    "/v1/completions": [
        {
            "model": "tiny",
            "prompt": "abc",
            "max_tokens": 2,
            "n": 2,
            "stop": ".",
            "logprobs": 1,
            "min_tokens": 1,
            "ignore_eos": True,
        },
        {"prompt": [[1, 2], [3]], "stream": True, "stream_options": {"include_usage": True}, "echo": True},
    ],
    "/v1/chat/completions": [
        {
            "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "abc"}],
            "max_completion_tokens": 3,
            "logit_bias": {"3": -1.5},
            "frequency_penalty": 0.5,
            "min_p": 0.1,
        },
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "abc"}]}], "stream": True, "max_tokens": 3},
    ],
    "/predict": [{"data": {"names": ["topic", "seed"], "ndarray": [["abc", 1], ["d", 2.0]]}, "meta": {"puid": "p"}}],
    "/send-feedback": [
        {
            "response": {"meta": {"puid": "p", "tags": {"name": "tiny", "version": 7, "stage": None, "checksum": ""}}},
            "reward": 1,
        }
    ],
    "/v1/articles/art_1/feedback": [{"rating": "up", "comment": "good", "user": "ann"}],
}
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), "", " ", "\n", "\x00", "a" * 400, "\u202e", "ü", "\U0001f600", "\ud800", "1", "true", "{{ 7*7 }}",
    "{% for x in range(9**9) %}", "../../etc/passwd", "<|endoftext|>", [], [[]], [None], ["a"] * 99, [0] * 99, {}, {"": {}}, {"a": {"a": []}},
]  # fmt: skip
HEADERS = [
    {},
    {"content-type": "text/plain"},
    {"content-type": "application/json; charset=utf-16"},
    {"content-type": "multipart/form-data; boundary=x"},
    {"content-length": "-1"},
    {"content-length": "99999999999999999999"},
    {"content-length": "abc"},
    {"authorization": "Bearer \xff"},
    {"accept-encoding": "gzip;q=nonsense"},
    {"range": "bytes=9-1"},
    {"expect": "100-continue"},
    {"origin": "null", "access-control-request-method": "POST"},
]
PATHS = ["/", "/nothing", "/v1/models/", "/v1/models/%00", "/v1/articles/%ff", "/static/../api.py", "/static/%2e%2e/api.py", "//", "/v1/articles/" + "a" * 3000, "/metrics", "/readyz", "/healthz", "/v1/templates", "/openapi.json"]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "NONSENSE"]


def spoil(value: Any, by: random.Random) -> Any:
    """The value with one place in it changed, added or left out."""
    if isinstance(value, dict) and value and by.random() < 0.8:
        changed = dict(value)
        name = by.choice(list(changed))
        chance = by.random()
        if chance < 0.1:
            del changed[name]
        elif chance < 0.2:
            changed[by.choice(["", "temprature", "\x00", "__proto__", "a" * 300])] = by.choice(VALUES)
        else:
            changed[name] = spoil(changed[name], by)
        return changed
    if isinstance(value, list) and value and by.random() < 0.5:
        changed_list = list(value)
        changed_list[by.randrange(len(value))] = spoil(by.choice(value), by)
        return changed_list
    return by.choice(VALUES)


def body_of(right: dict[str, Any], by: random.Random) -> bytes:
    """A body, mostly JSON with something wrong in it, sometimes no JSON at all."""
    for _ in range(by.randint(1, 3)):
        spoilt = spoil(right, by)
        right = spoilt if isinstance(spoilt, dict) else right
    data = json.dumps(spoilt).encode()
    chance = by.random()
    if chance < 0.05:
        return data[: by.randrange(len(data))]
    if chance < 0.1:
        place = by.randrange(len(data))
        return data[:place] + by.randbytes(by.randint(1, 4)) + data[place + 1 :]
    if chance < 0.12:
        return by.choice(
            [
                b"",
                b"\xff\xfe",
                b"[" * 30_000,
                b'{"a":' * 5000,
                b"\x00" * 99,
                b"x" * 70_000,
                data.decode().encode("utf-16"),
            ]
        )
    return data


def request_of(by: random.Random) -> tuple[str, str, dict[str, str], bytes]:
    """Method, path, headers and body of one request."""
    headers = dict(by.choice(HEADERS)) if by.random() < 0.2 else {}
    if by.random() < 0.1:
        return by.choice(METHODS), by.choice(PATHS + list(RIGHT)), headers, by.choice([b"", b"{}", by.randbytes(20)])
    path = by.choice(list(RIGHT))
    return "POST", path, {"content-type": "application/json", **headers}, body_of(by.choice(RIGHT[path]), by)


async def ask(app: FastAPI, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """One request, its body in two parts, and the answer to it."""
    raw, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": raw, "raw_path": raw.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    half = len(body) // 2
    coming = [{"body": body[:half], "more_body": True}, {"body": body[half:], "more_body": False}]
    status, parts = 0, []
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if coming:
            return {"type": "http.request", **coming.pop(0)}
        await answered.wait()  # a client that stays until it has its answer
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    try:
        await app(scope, receive, send)
    except Exception:  # Starlette answers 500, then raises for the server's log
        assert status == 500
    return status, b"".join(parts)


async def fuzz(app: FastAPI, count: int, seed: int) -> Counter[int]:
    """How often each status came; AssertionError with the request where it may not come."""
    by = random.Random(seed)
    found: Counter[int] = Counter()
    for _ in range(count):
        method, path, headers, body = request_of(by)
        status, answer = await ask(app, method, path, headers, body)
        found[status] += 1
        assert status not in (0, 500), (status, method, path, headers, body[:2000])
        if status >= 400 and method != "HEAD" and path in RIGHT:
            error = json.loads(answer)["error"]
            assert error["type"] and error["message"].endswith("."), (error, body[:2000])
    return found


def schema_of(app: FastAPI) -> Any:
    """What schemathesis reads of the application."""
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def by_schema(app: FastAPI, examples: int, check: Callable[[Any], None]) -> int:
    """Ask schemathesis's requests of each operation, wrong ones too; returns how many there were."""
    asked = 0
    for found in schema_of(app).get_all_operations():
        operation = found.ok()
        modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
        for mode in modes:
            strategy = operation.as_strategy(generation_mode=mode)

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy)
            def run(case: Any) -> None:
                nonlocal asked
                asked += 1
                check(case)

            try:
                run()
            except schemathesis.errors.SchemathesisError:
                raise
            except Exception as error:  # an operation without parameters has no wrong requests
                if "Unsatisfiable" not in type(error).__name__:
                    raise
    return asked


def no_server_error(case: Any) -> None:
    """Ask it, and look at the status."""
    status = case.call().status_code
    assert status != 500, case.as_curl_command()


def main(count: int, seed: int) -> None:
    """Ask so many requests and print what became of them."""
    from tiny_models import write_model

    with tempfile.TemporaryDirectory() as folder:
        router = EngineRouter({7: write_model(Path(folder) / "bundle", seed=3)}, max_tokens=4)
        app = create_app(router, config(Path(folder) / "data"))
        asked = by_schema(app, count // 2 // 12, no_server_error)
        print(f"{asked} requests made by schemathesis: none answered with 500", flush=True)
        found = asyncio.run(fuzz(app, count - asked, seed))
        print(f"{sum(found.values())} spoilt requests: {dict(sorted(found.items()))}")
        router.close()


if __name__ == "__main__":
    main(
        *(int(argument) for argument in sys.argv[1:]) if len(sys.argv) > 2 else (int((sys.argv[1:] or [10_000])[0]), 1)
    )
