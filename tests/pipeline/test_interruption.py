"""Ctrl-C in each step: the command ends, nothing half-written is taken for done, and the next run goes on."""

import os
import signal
import time
from collections.abc import Iterator
from types import ModuleType

import psutil
import pytest
from projects import Project, project

from textmill.gpt2.formats import bundle

pytestmark = pytest.mark.timeout(1800)  # five runs one after another


@pytest.fixture(scope="module")
def crawled(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mlflow_uri: str, millpond: ModuleType
) -> Iterator[Project]:
    """A project that has been crawled, with a training long enough to be interrupted."""
    with project("interrupted", tmp_path_factory.mktemp("stop"), 800, mongodb_uri, mlflow_uri, millpond) as crawled:
        file = crawled.folder / "textmill.yaml"
        longer = file.read_text("utf-8").replace("samples: 2", "samples: 10").replace("tokens: 20", "tokens: 100")
        file.write_text(longer, "utf-8")  # so that Evaluate, too, is still under way when Ctrl-C comes
        crawled.type("crawl")
        yield crawled


def _interrupt_in(project: Project, step: str) -> tuple[int, list[str], str]:
    """Run until a step begins, type Ctrl-C, and return the exit code and what was printed."""
    command = project.start("run")
    printed: list[str] = []
    assert command.stdout is not None
    for line in command.stdout:
        printed.append(line)
        if line.startswith(f"  {step} …"):
            break
    while step == "FineTune" and not list(project.folder.glob(".textmill/checkpoints/*/last.safetensors")):
        assert command.poll() is None, command.communicate()
        time.sleep(0.02)  # until it is in the middle of it
    children = psutil.Process(command.pid).children(recursive=True)
    command.send_signal(signal.SIGINT)
    _, error = command.communicate(timeout=180)  # the command itself gives its child a minute
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, "a child outlived the command"
    return command.returncode, printed, error


def test_an_interrupted_run_goes_on_where_it_was_stopped(crawled: Project) -> None:
    for step in ("ExportArticles", "Preprocess", "FineTune", "Evaluate"):
        code, printed, error = _interrupt_in(crawled, step)
        assert code == 130, error
        assert "run the same command again to resume" in error
        assert f"✓ {step}" not in "".join(printed)
    assert crawled.registry.versions() == []
    printed_at_last = crawled.type("run")
    for step in ("ExportArticles", "Preprocess", "FineTune"):
        assert f"✓ {step}  nothing changed, reused" in printed_at_last
    assert crawled.registry.version(1).stage == "Staging"


def test_what_an_interrupted_run_leaves_is_whole(crawled: Project) -> None:
    models = list((crawled.folder / ".textmill" / "pipeline" / "artifacts" / "FineTune" / "model").iterdir())
    whole = [folder for folder in models if any(folder.iterdir())]
    assert whole
    for folder in whole:
        assert bundle.verify(folder)


def test_a_killed_command_leaves_no_child(crawled: Project) -> None:
    command = crawled.start("run")
    assert command.stdout is not None
    assert any(line.startswith("  Loading TFX") for line in command.stdout)
    children = psutil.Process(command.pid).children(recursive=True)
    assert children
    os.kill(command.pid, signal.SIGKILL)
    command.wait(60)
    _, alive = psutil.wait_procs(children, timeout=180)  # it may have to import TensorFlow before it looks
    assert not alive
    command.stdout.close()
