import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from textmill.ground.errors import UserError
from textmill.training import checkpoint_file
from textmill.training.checkpoints import BEST, LAST, PREVIOUS, TOKENS, Checkpoints, prune
from textmill.training.record import Record


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
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}


def test_best_weights_without_a_last_checkpoint_are_of_a_run_that_starts_again(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as kept:
        kept.save_best({"w": np.ones(3, np.float32)}, 0, 2.0)
        assert kept.kept == tmp_path / BEST
        assert kept.last() is None
        assert not (tmp_path / BEST).exists()


VALUES = {"step": 3, "seconds": 1.5, "history": [], "samples": [], "ended": "", "batch": 4}


def save_in_the_form_before(path: Path, values: Mapping[str, object]) -> None:
    """A checkpoint without a checksum of its header and without the batch, as it was written before."""
    checkpoint_file.save(path, {"w": np.arange(5, dtype=np.float32)}, {})
    sealed = json.loads(path.read_bytes()[8:].partition(b"}}")[0] + b"}}")["__metadata__"]
    save_file(load_file(path), path, {"values": json.dumps(values), "crc32c": sealed["crc32c"]})


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / LAST
    checkpoint_file.save(path, {"w": np.arange(5, dtype=np.float32), "über": np.float32([1])}, VALUES)
    whole = path.read_bytes()
    assert checkpoint_file.load(path).values == VALUES
    header = len(whole) - 6 * 4
    for place in range(len(whole)):
        for bit in {place % 8, 5}:  # one after another; the fifth turns a letter into the same one of the other case
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(UserError, match=r"cannot be read .*; delete its folder to train from the start\.$"):
                checkpoint_file.load(path, values_only=place < header)


def test_a_checkpoint_of_the_form_before_is_read_and_its_damage_named(tmp_path: Path) -> None:
    save_in_the_form_before(tmp_path / LAST, {name: VALUES[name] for name in VALUES if name != "batch"})
    with Checkpoints(tmp_path) as kept:
        with pytest.raises(UserError, match=r"task\.json cannot be read .*; delete its folder"):
            kept.described_batch()
        record = Record.of(kept)  # which needs the description for `batch: auto` alone
        assert (record.step, record.batch) == (3, 0)
        kept.describe({"batch": 7})
        assert kept.described_batch() == 7
        assert record.state is not None
        assert record.state["w"].tolist() == [0, 1, 2, 3, 4]
        (tmp_path / "task.json").write_bytes(b'{"batch": 7')
        with pytest.raises(UserError, match=r"task\.json cannot be read .*; delete its folder"):
            kept.described_batch()
        save_in_the_form_before(tmp_path / LAST, {**VALUES, "history": [{"stap": 0}]})
        with pytest.raises(UserError, match=rf"{LAST} is damaged .*stap.*; delete its folder"):
            Record.of(kept)


def test_the_checkpoint_before_a_damaged_last_one_is_used(tmp_path: Path) -> None:
    def save(kept: Checkpoints, step: int) -> None:
        kept.save_last({"w": np.full(3, step, np.float32)}, {"step": step, "ended": ""})

    with Checkpoints(tmp_path) as kept:
        for step in (1, 2, 3):
            save(kept, step)
        (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:-1] + b"?")
        for _ in range(2):
            found = kept.last()
            assert found is not None
            assert found.values["step"] == 2
        save(kept, 4)
        (tmp_path / LAST).write_bytes(b"?")
        (tmp_path / PREVIOUS).write_bytes(b"?")
        with pytest.raises(UserError, match=rf"{PREVIOUS} cannot be read"):
            kept.last()


def test_where_hard_links_are_missing_a_crash_while_writing_loses_nothing(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as kept:
        kept.save_last({}, {"step": 1, "ended": ""})
    (tmp_path / LAST).rename(tmp_path / PREVIOUS)  # as `save_last` does then, before it writes
    assert kept.kept == tmp_path / PREVIOUS
    with Checkpoints(tmp_path) as kept:
        found = kept.last()
        assert found is not None
        assert found.values["step"] == 1


def test_damaged_results_of_a_finished_training_are_read_from_their_copy(tmp_path: Path) -> None:
    training(tmp_path, "done", "all steps taken", 0)
    (tmp_path / "done" / LAST).write_bytes(b"?")
    with Checkpoints(tmp_path / "done") as kept:
        found = kept.last()
        assert found is not None
        assert found.values["ended"] == "all steps taken"
