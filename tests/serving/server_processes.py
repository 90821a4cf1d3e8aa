"""Real server processes over a bundle, and what tests ask them."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Server:
    """A server process that answers."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def metric(self, line: str) -> float:
        """The value of one of Prometheus's lines; zero where it is not there yet."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_for_metric(self, line: str, value: float) -> None:
        """Wait until a figure has this value, for ten seconds at most."""
        end = time.monotonic() + 10
        while self.metric(line) != value:
            assert time.monotonic() < end, f"{line} is {self.metric(line)}, not {value}"
            time.sleep(0.05)


def write_config(directory: Path, **serve: int) -> Path:
    """A configuration with these serve settings."""
    lines = ["name: tiny", "sources:", "  - name: mills", "    start: http://127.0.0.1:1/", "serve:"]
    settings = {"slots": 2, "threads": 1, "max_tokens": 60, **serve}
    path = directory / "textmill.yaml"
    path.write_text("\n".join([*lines, *(f"  {name}: {value}" for name, value in settings.items())]), encoding="utf-8")
    return path


def command(*arguments: object) -> list[str]:
    """The command line of a server that ends with this process."""
    return [sys.executable, "-m", "serving.server", "--follow-parent", *map(str, arguments)]
