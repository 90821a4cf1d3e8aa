"""Crawls in processes of their own, and sites made for one test."""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class CrawlRun:
    """What a crawl's process said and left."""

    code: int
    events: list[dict[str, Any]]
    output: str  # of stdout and stderr

    @property
    def counts(self) -> dict[str, dict[str, Any]]:
        """Counts by source."""
        return next(event["values"] for event in self.events if event["event"] == "outcome")

    @property
    def results(self) -> list[str]:
        return [event["text"] for event in self.events if event["event"] == "result"]

    @property
    def failure(self) -> str:
        return next(event["sentence"] for event in self.events if event["event"] == "failed")


def crawl_command(folder: Path, config: dict[str, Any]) -> list[str]:
    """The command for a crawl with this configuration, written into `folder`."""
    file = folder / "textmill.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return [sys.executable, "-m", "scraper.crawl", "--config", str(file)]


def crawl_config(database: str, *sources: dict[str, Any], **crawl: Any) -> dict[str, Any]:
    """A configuration without politeness."""
    return {
        "name": "test",
        "store": {"database": database},
        "sources": list(sources),
        "crawl": {"delay_s": 0, **crawl},
    }


def run_crawl(folder: Path, mongodb_uri: str, config: dict[str, Any]) -> CrawlRun:
    """Crawl in a child process and wait for its end."""
    progress = folder / "progress.jsonl"
    with progress.open("wb") as pipe:
        done = subprocess.run(
            crawl_command(folder, config),
            cwd=ROOT,
            env=os.environ | {"TEXTMILL_MONGODB_URI": mongodb_uri, "TEXTMILL_PROGRESS_FD": str(pipe.fileno())},
            pass_fds=[pipe.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
    events = [json.loads(line) for line in progress.read_text(encoding="utf-8").splitlines()]
    return CrawlRun(done.returncode, events, done.stdout.decode())


@dataclass
class Web:
    """A site made for a test: what each path answers, and which paths were asked for."""

    url: str
    pages: dict[str, str | bytes | tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    conditions: dict[str, str] = field(default_factory=dict)  # the validator last sent for a path
    hangs: set[str] = field(default_factory=set)  # paths that are answered only when the test has ended
    ended: threading.Event = field(default_factory=threading.Event)


class WebServer(ThreadingHTTPServer):
    """Serves a Web on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.web = Web(f"http://127.0.0.1:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, WebServer)
        web = self.server.web
        web.asked.append(self.path)
        web.conditions[self.path] = self.headers["If-None-Match"] or self.headers["If-Modified-Since"] or ""
        if self.path in web.hangs:
            web.ended.wait()
        answer = web.pages.get(self.path, (404, {}, b""))
        if not isinstance(answer, tuple):
            body = answer.encode() if isinstance(answer, str) else answer
            answer = (200, {"Content-Type": "text/html; charset=utf-8"}, body)
        status, headers, body = answer
        if web.conditions[self.path] and web.conditions[self.path] in (
            headers.get("ETag"),
            headers.get("Last-Modified"),
        ):
            status, body = 304, b""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # the crawler hangs up on a page that is too large
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return
