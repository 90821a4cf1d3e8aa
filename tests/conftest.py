"""What tests of several parts share: a real article store and the example site."""

import importlib.util
import os
import signal
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings
from local_servers import free_port, start_store, stop

from textmill.articles.store import ArticleStore
from textmill.local_servers import servers

ROOT = Path(__file__).resolve().parent.parent
# the same examples in every run, and none too slow on a busy machine
settings.load_profile("ci")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as in a script's background; the processes that tests start would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a store that lives as long as the test session."""
    port = free_port()
    process = start_store(tmp_path_factory.mktemp("store"), port)
    yield f"mongodb://127.0.0.1:{port}"
    stop(process)


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str) -> Iterator[str]:
    """The address of an MLflow server that lives as long as the test session."""
    data = tmp_path_factory.mktemp("servers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
        addresses = servers.up(data, tensorboard=False)
    yield addresses.mlflow
    servers.down(data)


@pytest.fixture
def database() -> str:
    """The name of a database that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def store(mongodb_uri: str, database: str) -> ArticleStore:
    """An empty article store, in the database of the fixture `database`."""
    return ArticleStore.connect(mongodb_uri, database)


@pytest.fixture(scope="session")
def millpond() -> ModuleType:
    """The module examples/site.py."""
    spec = importlib.util.spec_from_file_location("millpond", ROOT / "examples" / "site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["millpond"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def site(millpond: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the example site, rendered and served; it ends without a slash."""
    folder = tmp_path_factory.mktemp("millpond")
    with millpond.server(folder) as http:
        base_url = f"http://127.0.0.1:{http.server_port}"
        millpond.render(folder, base_url)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield base_url
        http.shutdown()


@pytest.fixture(autouse=True)
def _no_watcher() -> None:
    """Tests report progress to nobody, even when something that watches started them."""
    os.environ.pop("TEXTMILL_PROGRESS_FD", None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was skipped, and what each wants: a line a reason."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("not run here", sep="-")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:3}  {reason}")
