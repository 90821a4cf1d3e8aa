"""`textmill run` before anything slow begins."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textmill.cli import app
from textmill.commands.crawl import crawl_sites
from textmill.commands.project import Project
from textmill.commands.run import run_pipeline
from textmill.ground.errors import UserError
from textmill.ground.files import RUN_LOCK, alone

HOLDS = "import sys, time; from pathlib import Path; from textmill.ground.files import alone\nwith alone(Path(sys.argv[1])): print(flush=True); time.sleep(60)"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "textmill.yaml").write_text("name: mill\ncorpus: {imported: [books]}\n", "utf-8")
    return Project.load(tmp_path / "textmill.yaml")


def test_a_second_run_in_one_folder_is_refused_at_once(project: Project) -> None:
    with alone(project.config.data_dir):
        started = time.monotonic()
        with pytest.raises(UserError, match="Another run is under way"):
            run_pipeline(project)
        assert time.monotonic() - started < 5


def test_the_lock_is_handed_to_the_child_that_runs(tmp_path: Path) -> None:
    with alone(tmp_path) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(tmp_path)],
            env={"PYTHONPATH": ":".join(sys.path), RUN_LOCK: str(lock)},
            pass_fds=[lock],
            stdout=subprocess.PIPE,
        )
        assert child.stdout and child.stdout.readline() == b"\n"  # it was let in
    with pytest.raises(UserError, match="Another run is under way"), alone(tmp_path):
        pass  # the child holds it still
    child.kill()
    child.communicate()
    with alone(tmp_path):
        pass


def test_a_crawl_without_sites_says_so(project: Project) -> None:
    with pytest.raises(UserError, match="names no site to crawl"):
        crawl_sites(project)


def test_an_unknown_step_is_refused(project: Project) -> None:
    for options in (["--from", "Train"], ["--again", "Train"], ["--from", "FineTune", "--again", "FineTune"]):
        result = CliRunner().invoke(app, ["run", "--config", str(project.file), *options])
        assert isinstance(result.exception, UserError)
