"""A reviewer moves versions in MLflow's own page, with the mouse, while `curl` asks the server again and again."""

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import Page, chromium, opened
from registered_bundles import register
from server_processes import Server

from textmill.registry.model_registry import ModelRegistry

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine (apt-get install chromium)"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine"),
]
NOTICED_WITHIN_S = 120  # fifteen are promised, but not on a machine that runs other tests meanwhile
LOOP = """
while true; do
  curl --silent --show-error --fail --max-time 30 --header 'Content-Type: application/json' \
    --data '{"topic": "abc", "max_tokens": 20}' "$1/v1/articles" | grep --only-matching '"version":[0-9]*' || echo failed
  sleep 0.1
done
"""


@pytest.fixture(scope="module")
def registry(mlflow_uri: str, model: Path, other_model: Path) -> ModelRegistry:
    """Version 1 in Production, version 2 in Staging."""
    registry = ModelRegistry(mlflow_uri, "reviewed")
    for directory in (model, other_model):
        register(registry, directory)
    registry.promote(1, "the first")
    registry.promote(2, "look at it", "Staging")
    return registry


@pytest.fixture(scope="module")
def server(start: Callable[..., Server], registry: ModelRegistry) -> Server:
    return start(environment={"MLFLOW_TRACKING_URI": registry.tracking_uri}, name="reviewed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with opened(tmp_path_factory.mktemp("profile")) as tab:
        tab.look(1280, 900)
        yield tab


class Loop:
    """What the loop has printed so far."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def answers(self) -> list[str]:
        return self._file.read_text(encoding="utf-8").split()

    def wait_for(self, version: int) -> float:
        """Wait until this version answers, and return the seconds."""
        began = time.monotonic()
        while self.answers[-1:] != [f'"version":{version}']:
            assert time.monotonic() < began + NOTICED_WITHIN_S, self.answers[-5:]
            time.sleep(0.05)
        return time.monotonic() - began


@contextmanager
def curl_loop(server: Server, folder: Path) -> Iterator[Loop]:
    output = folder / "answers"
    with output.open("w", encoding="utf-8") as file:
        command = ["bash", "-c", LOOP, "loop", server.url]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield Loop(output)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def open_version(page: Page, registry: ModelRegistry, number: int) -> None:
    page.open("about:blank")  # MLflow's addresses differ behind the # only, which loads nothing anew
    page.open(f"{registry.tracking_uri}/#/models/{registry.name}/versions/{number}")
    page.wait(f"document.body.innerText.includes('Version {number}')")


def promote_by_alias(page: Page, registry: ModelRegistry, number: int) -> None:
    """MLflow's newer page: give the version the alias `production`."""
    open_version(page, registry, number)
    page.click('button[title$=" aliases"]')
    page.click("[role=dialog] input")
    page.type("production")
    page.press("Enter", 13)
    page.click_words("Save aliases")
    page.wait("!document.querySelector('[role=dialog]')?.getClientRects().length")


def promote_by_stage(page: Page, registry: ModelRegistry, number: int) -> None:
    """MLflow's older page: choose the stage Production, and confirm."""
    open_version(page, registry, number)
    page.wait("document.querySelector('[aria-label=\"New model registry UI\"]')")
    if page.run("document.querySelector('[aria-label=\"New model registry UI\"]').ariaChecked") == "true":
        page.click('[aria-label="New model registry UI"]')
        page.click_words("Disable")
    page.click("[class*=stage-transition-dropdown]")
    page.click("[data-menu-id$=transition-to-Production]")
    page.click_words("OK")


def test_curl_sees_the_promoted_version_and_no_error(
    server: Server, registry: ModelRegistry, page: Page, tmp_path: Path
) -> None:
    with curl_loop(server, tmp_path) as loop:
        loop.wait_for(1)
        promote_by_alias(page, registry, 2)
        by_alias_s = loop.wait_for(2)
        promote_by_stage(page, registry, 1)
        by_stage_s = loop.wait_for(1)
        time.sleep(0.5)
        answers = loop.answers
    runs = [(answer, len(list(same))) for answer, same in itertools.groupby(answers)]
    print(f"\nan alias after {by_alias_s:.1f} s, a stage after {by_stage_s:.1f} s; curl's answers: {runs}")
    assert [answer for answer, _ in runs] == ['"version":1', '"version":2', '"version":1']
    end = time.monotonic() + NOTICED_WITHIN_S
    while (2, "Staging", "Production") not in (moves := logged(registry)) or (1, "Archived", "Production") not in moves:
        assert time.monotonic() < end, moves
        time.sleep(0.2)


def logged(registry: ModelRegistry) -> list[tuple[int, str, str]]:
    """The moves that the promotion log has of MLflow's page."""
    return [(move.version, move.former, move.stage) for move in registry.history() if move.who == "MLflow page"]
