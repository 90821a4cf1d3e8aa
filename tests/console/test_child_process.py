"""What a command shows of work in a child process that ends, fails or is killed."""

import sys
from pathlib import Path

import pytest

from textmill.console.child_process import StepFailed, run_child

WORK = """
import os, signal
from textmill.console import progress
progress.send(event="plan", steps=["Export", "Train", "Judge"])
progress.step("Train")
progress.result("trained")
{then}
"""
KILLED = "held = bytearray(os.urandom(1)) * 300_000_000; os.kill(os.getpid(), signal.SIGKILL)"


def _run(folder: Path, then: str) -> None:
    run_child([sys.executable, "-c", WORK.format(then=then)], folder / "work.log", {})


def test_steps_after_a_kill_are_not_called_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StepFailed, match=r"was killed at a peak of \d+\.\d GB of memory"):  # a large parent's counts
        _run(tmp_path, KILLED)
    printed = capsys.readouterr().out
    assert "✓ Export  nothing changed, reused" in printed
    assert "✗ Train  failed" in printed
    assert "✗ Judge  not run" in printed
    assert "✓ Train" not in printed and "✓ Judge" not in printed


def test_steps_after_a_failure_are_not_called_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StepFailed, match="no water"):
        _run(tmp_path, "progress.failed('There is no water.', 2); raise SystemExit(2)")
    printed = capsys.readouterr().out
    assert "✗ Train  failed" in printed and "✗ Judge  not run" in printed


def test_steps_that_said_nothing_in_a_run_that_ended_well_were_reused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(tmp_path, "")
    printed = capsys.readouterr().out
    assert "✓ Train  trained" in printed
    assert "✓ Judge  nothing changed, reused" in printed


def test_a_refusal_has_no_tick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path, "progress.step('Judge'); progress.result('refused: it copies', 'refused')")
    printed = capsys.readouterr().out
    assert "✗ Judge  refused: it copies" in printed
    assert "✓ Train  trained" in printed
