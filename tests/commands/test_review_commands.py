"""What a reviewer types: promote, rollback, history, mirror; and the mirror that `textmill up` starts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from empty_versions import mlflow, register_empty
from typer.testing import CliRunner

from textmill.cli import app
from textmill.commands import next_step
from textmill.local_servers import servers
from textmill.local_servers.stage_mirror import EVERY_S
from textmill.registry.model_registry import ModelRegistry
from textmill.registry.reconciler import _GRACE_S
from textmill.settings import yaml_file as configuration

NOTICED_WITHIN_S = 15
PATIENCE_S = 120  # for a machine that has much else to do; the mirror's process has to start, too


@pytest.fixture
def registry(mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    """Three versions; the working folder has a configuration that names them."""
    name = f"reviewed-{uuid.uuid4().hex[:8]}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("COLUMNS", "200")
    configuration.write_template(tmp_path / "textmill.yaml", "http://127.0.0.1:9/", name)
    registry = ModelRegistry(mlflow_uri, name)
    register_empty(registry, 3, {"bits_per_byte": "1.2345"})
    return registry


def _type(*arguments: str) -> str:
    ran = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    return ran.output


def test_rollback_says_how_far_back_it_went_and_what_lies_behind(registry: ModelRegistry) -> None:
    for number in ("1", "2", "3"):
        _type("promote", number, "--why", "better")
    said = _type("rollback", "--why", "[worse]")
    assert "Version 2  Archived -> Production" in said
    assert "Version 3 has left Production" in said
    assert "Rolling back again restores version 1." in said
    assert "There is no earlier version to roll back to." in _type("rollback")
    table = _type("history")
    assert "rollback from 3: [worse]" in table
    assert "1.2345" in table
    entries = [json.loads(line) for line in _type("history", "--json").splitlines()]
    assert [(entry["version"], entry["stage"]) for entry in entries if not entry["observed"]] == [
        (1, "Production"),
        (2, "Production"),
        (3, "Production"),
        (2, "Production"),
        (1, "Production"),
    ]


def test_an_undecided_version_is_promoted_with_why_and_without_force(registry: ModelRegistry) -> None:
    (number,) = register_empty(registry, 1, {"undecided": "not distinguishable"})
    asked = CliRunner().invoke(app, ["promote", str(number)])
    assert "is undecided: not distinguishable; promote it with a reason" in str(asked.exception)
    assert "None -> Production" in _type("promote", str(number), "--why", "it reads better")
    assert "it reads better (undecided: not distinguishable)" in _type("history")


def test_a_history_without_moves_is_said(registry: ModelRegistry) -> None:
    assert f"No version of '{registry.name}' has been moved yet." in _type("history")


@pytest.mark.parametrize("columns", [40, 80])
def test_the_status_fits_the_terminal_and_ends_with_the_next_command(
    registry: ModelRegistry, mongodb_uri: str, columns: int
) -> None:
    (number,) = register_empty(
        registry, 1, {"undecided": "its interval reaches from -1.0% to 2.0%", "bits_per_byte": "1.9"}
    )
    terminal = {"TEXTMILL_MONGODB_URI": mongodb_uri, "TTY_COMPATIBLE": "1", "COLUMNS": str(columns)}
    command = [sys.executable, "-c", "from textmill.cli import main; main()", "status"]
    printed = subprocess.run(command, env=os.environ | terminal, capture_output=True, text=True, check=True).stdout
    lines = re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines()
    page = f"{registry.tracking_uri}/#/models/{registry.name}/versions/{number}"
    assert f"MLflow       {page}" in lines
    assert lines[-1] == f'Next: textmill promote {number} --why "..."'
    assert [line for line in lines if len(line) > columns and page not in line] == []
    assert "from -1.0% to 2.0%." in " ".join(" ".join(lines).split())


def test_a_piped_status_has_a_line_a_row_and_its_json_the_same(
    registry: ModelRegistry, mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = "it copies " * 30
    (number,) = register_empty(registry, 1, {"refused": doubt, "bits_per_byte": "1.9"})
    _type("promote", "2", "--stage", "Staging")
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("COLUMNS", "80")
    assert f"refused: {doubt}" in next(line for line in _type("status").splitlines() if line.startswith(str(number)))
    found = json.loads(_type("status", "--json"))
    assert found["next"] == "textmill promote 2"
    assert found["articles"] == {registry.name: 0}
    newest = found["versions"][0]
    assert (newest["version"], newest["stage"], newest["bits_per_byte"]) == (number, "None", 1.9)
    assert newest["doubt"].startswith("refused: it copies")
    assert newest["page"] == registry.page(number)


def test_a_run_ends_with_the_command_for_its_verdict(registry: ModelRegistry) -> None:
    blessed, open_, refused = (
        register_empty(registry, 1, tags)[0] for tags in ({}, {"undecided": "too few"}, {"refused": "it copies"})
    )
    _type("promote", str(blessed), "--stage", "Staging")

    def last(**outcome: int) -> str:
        return next_step.after_run(registry, outcome)[-1]

    assert last(version=blessed) == f"Next: textmill promote {blessed}"
    assert last(version=open_) == f'Next: textmill promote {open_} --why "..."'
    assert last(version=refused).startswith(f"Next: see why at {registry.page(refused)}")
    assert last() == "Next: textmill run"
    _type("promote", str(blessed))
    assert last(version=blessed) == "Next: textmill serve"


def _move_in_the_page(registry: ModelRegistry, number: int) -> None:
    mlflow(registry, "POST", "registered-models/alias", name=registry.name, alias="production", version=str(number))


def _wait_for_production(registry: ModelRegistry, number: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while not ((found := registry.resolve("Production")) and found.number == number):
        assert time.monotonic() < end, f"version {number} is not in Production after {PATIENCE_S} s"
        time.sleep(0.2)


def test_the_mirror_that_up_starts_notices_within_fifteen_seconds_and_ends_with_down(
    registry: ModelRegistry, mongodb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EVERY_S + _GRACE_S < NOTICED_WITHIN_S / 2  # what it waits for; the rest is for MLflow to answer in
    monkeypatch.setenv("TEXTMILL_MONGODB_URI", mongodb_uri)
    servers.up(tmp_path, tensorboard=False, mirrored=registry.name)
    try:
        _move_in_the_page(registry, 2)
        _wait_for_production(registry, 2)
    finally:
        assert servers.down(tmp_path) == ["mirror of MLflow's page"]


def test_the_mirror_command_runs_until_it_is_interrupted(registry: ModelRegistry) -> None:
    command = [sys.executable, "-c", "from textmill.cli import main; main()", "mirror"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    assert running.stdout
    try:
        assert registry.name in running.stdout.readline()
        _move_in_the_page(registry, 3)
        said = running.stdout.readline()  # it says so once the log has it
    finally:
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=60)
    assert "version 3: None -> Production, moved in MLflow" in said
    _wait_for_production(registry, 3)
    assert (running.returncode, error.strip()) == (130, "Stopped; run the same command again to resume.")
