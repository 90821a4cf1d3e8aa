import os
import time
from pathlib import Path

import numpy as np

from textmill.training.checkpoints import BEST, LAST, TOKENS, Checkpoints, prune


def training(folder: Path, name: str, ended: str, age_s: float) -> None:
    """A training's checkpoints, last written so long ago."""
    with Checkpoints(folder / name) as kept:
        kept.save_best({"w": np.ones(3, np.float32)}, 1, 2.0)
        kept.save_last({}, {"ended": ended})
    os.utime(folder / name / LAST, (time.time() - age_s,) * 2)


def test_old_finished_trainings_go_and_those_that_can_go_on_stay(tmp_path: Path) -> None:
    for number, ended in enumerate(["all steps taken", "", "all steps taken", "all steps taken", ""]):
        training(tmp_path, f"{number} days", ended, number * 86_400)
    prune(tmp_path, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"0 days", "1 days", "2 days", "4 days"}


def test_a_damaged_or_foreign_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    training(tmp_path, "damaged", "all steps taken", 0)
    (tmp_path / "damaged" / LAST).write_bytes(b"?")
    prune(tmp_path, keep=1)
    training(tmp_path, "whole", "all steps taken", 0)
    prune(tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {"notes", "damaged", "whole"}


def test_token_streams_long_unused_go(tmp_path: Path) -> None:
    streams = tmp_path / TOKENS
    streams.mkdir()
    for name, days in (("old", 8), ("new", 6), (".half.123", 8)):
        (streams / name).write_bytes(b"0")
        os.utime(streams / name, (time.time() - days * 86_400,) * 2)
    prune(tmp_path, keep=1)
    assert {path.name for path in streams.iterdir()} == {"new"}


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / f".{LAST}.partial").write_bytes(b"0" * 10)
    with Checkpoints(tmp_path) as kept:
        assert kept.last() is None
        assert kept.task() == {}
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}


def test_best_weights_without_a_last_checkpoint_are_of_a_run_that_starts_again(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as kept:
        kept.save_best({"w": np.ones(3, np.float32)}, 0, 2.0)
        assert kept.kept == tmp_path / BEST
        assert kept.last() is None
        assert not (tmp_path / BEST).exists()
