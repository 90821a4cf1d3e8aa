"""Real server processes over a bundle, and what tests ask them."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 60  # much more than a server needs, for a machine that runs other tests meanwhile


@dataclass(frozen=True)
class Server:
    """A server process that answers."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=PATIENCE_S, **body)

    def metric(self, line: str) -> float:
        """The value of one of Prometheus's lines; zero where it is not there yet."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def readiness(self) -> dict[str, Any]:
        """What /readyz says."""
        return dict(self.get("/readyz").json())

    def wait_until(self, true: Callable[[dict[str, Any]], object], within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until what /readyz says is so, and return it."""
        end = time.monotonic() + within_s
        while not true(said := self.readiness()):
            assert time.monotonic() < end, f"/readyz still says {said}"
            time.sleep(0.05)
        return said

    def wait_for_metric(self, line: str, value: float) -> None:
        """Wait until a figure has this value."""
        end = time.monotonic() + PATIENCE_S
        while self.metric(line) != value:
            assert time.monotonic() < end, f"{line} is {self.metric(line)}, not {value}"
            time.sleep(0.05)


def write_config(directory: Path, name: str = "tiny", **serve: object) -> Path:
    """A configuration with these serve settings."""
    lines = [f"name: {name}", "sources:", "  - name: mills", "    start: http://127.0.0.1:1/", "serve:"]
    settings = {"slots": 2, "threads": 1, "max_tokens": 60, "grace_s": 2, **serve}
    path = directory / "textmill.yaml"
    path.write_text(
        "\n".join([*lines, *(f"  {name}: {json.dumps(value)}" for name, value in settings.items())]), encoding="utf-8"
    )
    return path


def command(*arguments: object) -> list[str]:
    """The command line of a server that ends with this process."""
    return [sys.executable, "-m", "serving.server", "--follow-parent", *map(str, arguments)]
