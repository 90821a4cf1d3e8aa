"""A proxy before a real MLflow server that passes each request on and keeps what was asked."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "date", "server", "host"}


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str  # without its query
    body: bytes


@contextmanager
def recorded(uri: str, done: Callable[[Asked], object] = lambda asked: None) -> Iterator[tuple[str, list[Asked]]]:
    """An address that stands for the server at `uri`, and the requests that have come to it, in their order.

    Args:
        done: called when the server has carried out a request, before the client hears of it.
    """
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(Asked(self.command, self.path.partition("?")[0], body))
            latest = asked[-1]
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            answer = requests.request(self.command, f"{uri}{self.path}", data=body, headers=headers, timeout=600)
            done(latest)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
