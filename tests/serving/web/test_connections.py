"""What reaches a server before any application does: large heads, half-open connections, too many of them."""

import json
import os
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from server_processes import Server, command, write_config

MANY = 12


@pytest.fixture(scope="module")
def small(start: Callable[..., Server]) -> Server:
    """A server that takes few connections."""
    return start(connections=MANY)


def connect(server: Server) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The status and the error of one answer that closes its connection."""
    data = b""
    while part := connection.recv(1 << 16):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


@contextmanager
def raw(server: Server, *parts: bytes) -> Iterator[socket.socket]:
    with connect(server) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            for part in parts:
                connection.sendall(part)
        yield connection


START = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (START, *[b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(40)], b"\r\n"),
        (START, b"X: ", *[b"a" * 8000] * 10),  # one header without end
        (b"GET /", b"a" * 40_000, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (b"GET /healthz HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % number for number in range(9000)), b"\r\n"),
    ],
)
def test_a_head_of_more_than_32_kb_is_refused_and_not_kept(small: Server, parts: tuple[bytes, ...]) -> None:
    with raw(small, *parts) as connection:
        try:
            status, error = answer(connection)
        except ConnectionResetError:
            return  # closed with our bytes unread: the answer may be lost on the way
        assert (status, error["type"]) == (431, "invalid_request")
    assert small.get("/healthz").status_code == 200


def test_a_large_body_in_small_pieces_and_many_requests_are_no_large_head(small: Server) -> None:
    with httpx.Client(base_url=small.url, timeout=60) as client:
        for _ in range(60):
            assert client.get("/healthz", headers={"X": "a" * 1000}).status_code == 200
        pieces = (b" " * 1000 for _ in range(50))
        assert client.post("/v1/articles", content=pieces).status_code == 422


def test_what_is_no_http_is_answered_as_any_error(small: Server) -> None:
    with raw(small, b"\x16\x03\x01 nonsense\r\n\r\n") as connection:
        status, error = answer(connection)
    assert (status, error["message"]) == (400, "The request is not valid HTTP.")


def test_connections_without_a_request_make_room_for_those_that_have_one(small: Server) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(raw(small, START)) for _ in range(3 * MANY)]
        for _ in range(2 * MANY):
            assert small.get("/healthz").status_code == 200
        with suppress(ConnectionResetError):  # the oldest is closed without an answer
            assert silent[0].recv(1) == b""


def test_a_request_that_does_not_arrive_in_time_is_given_up(start: Callable[..., Server]) -> None:
    server = start(receive_s=0.5)
    half = b"POST /v1/articles HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"
    for parts in ((), (START,), (half,)):
        with raw(server, *parts) as connection:
            status, error = answer(connection)
        assert (status, error["message"]) == (408, "The request did not arrive within 0.5 s.")
    assert server.get("/healthz").status_code == 200


POST = b"POST /v1/articles HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
NOWHERE = POST.replace(b"/v1/articles", b"/nowhere")


@pytest.mark.parametrize(
    "parts",
    [
        (NOWHERE, b"", b"0123456789"),  # answered before its body, which comes then, and nothing after it
        (START + b"\r\n" + POST + b"x",),  # a second request that follows unasked, whose body does not come
    ],
)
def test_no_order_of_half_requests_holds_a_connection_for_ever(
    start: Callable[..., Server], parts: tuple[bytes, ...]
) -> None:
    server = start(receive_s=1)
    with connect(server) as connection:
        for part in parts:
            if part:
                connection.sendall(part)
            else:
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 404")
        connection.settimeout(60)
        while connection.recv(1 << 16):  # until the server closes it
            pass


def test_where_every_connection_has_a_request_the_next_is_told_to_come_back(start: Callable[..., Server]) -> None:
    server = start(connections=2, max_tokens=1_000_000)
    body = json.dumps({"topic": "abc", "stream": True, "max_tokens": 1_000_000, "temperature": 0}).encode()
    post = (
        b"POST /v1/articles HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    with raw(server, post % len(body) + body) as one, raw(server, post % len(body) + body) as two:
        assert one.recv(12) == two.recv(12) == b"HTTP/1.1 200"
        with raw(server) as third:
            status, error = answer(third)
        assert (status, error["type"]) == (503, "not_ready")


def test_with_few_file_descriptors_the_server_backs_off_and_answers(model: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, connections=1000)
    log = tmp_path / "log"

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))

    with log.open("w") as output:
        process = subprocess.Popen(
            command("--config", config, "--port", 0, "--bundle", model),
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            preexec_fn=few,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        assert process.stdout
        server = Server(process.stdout.readline().rsplit(" ", 1)[1].strip(), process, log)
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(raw(server, START))
            assert server.get("/healthz").status_code == 200
            assert server.post("/v1/articles", json={"topic": "abc", "max_tokens": 3}).status_code == 200
        assert "16 connections at most: the limit of open files is 160" in log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()  # type: ignore[union-attr]


def test_a_trailing_slash_is_no_redirect_and_another_host_is_refused(small: Server) -> None:
    assert small.get("/v1/models/").json() == small.get("/v1/models").json()
    assert small.get("/v1/models/nothing/").status_code == 404
    for host, status in (("evil.example", 421), ("127.0.0.1", 200), ("localhost:9", 200), ("[::1]:80", 200)):
        assert httpx.get(f"{small.url}/healthz/", headers={"Host": host}).status_code == status
