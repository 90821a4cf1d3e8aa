"""`textmill crawl --watch` against a store that does not answer."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local_servers import free_port


def test_a_store_that_does_not_answer_is_tried_again_within_a_minute(tmp_path: Path) -> None:
    file = tmp_path / "textmill.yaml"
    file.write_text("name: test\nsources: [{name: mill, start: 'http://mill.example/'}]\n", encoding="utf-8")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from textmill.cli import main; main()",
            "crawl",
            "--watch",
            "1d",
            "--config",
            str(file),
        ],
        env=os.environ | {"TEXTMILL_MONGODB_URI": f"mongodb://127.0.0.1:{free_port()}", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        said = ""
        while not (found := re.search(r"The next crawl starts at (.{16}) UTC", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert "does not answer" in said
    due = datetime.strptime(found[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    assert due - datetime.now(UTC) < timedelta(minutes=2)
