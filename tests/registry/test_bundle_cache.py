"""Fetched bundles: deleted when nobody uses them any more, and never while anybody does, in whichever process."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from textmill.registry.bundle_cache import Hold, prune

CHECKSUM = "0123456789ab"


def fetched(folder: Path, *numbers: int) -> list[str]:
    """Folders of versions, each used later than the one before."""
    names = [f"tiny-{number}-{CHECKSUM}" for number in numbers]
    for age, name in enumerate(reversed(names), 1):
        (folder / name / "graphs").mkdir(parents=True)
        (folder / name / "manifest.json").write_text("{}", encoding="utf-8")
        os.utime(folder / name, (time.time() - 100 * age,) * 2)
    return names


def there(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_those_used_last_stay_and_older_ones_go(tmp_path: Path) -> None:
    one, two, three = fetched(tmp_path, 1, 2, 3)
    Hold(tmp_path / one).release()  # a use makes it the latest
    assert prune(tmp_path, keep=2) == [two]
    assert there(tmp_path) == {one, three}


def test_what_is_in_use_or_named_stays_and_does_not_count(tmp_path: Path) -> None:
    one, two, three, four = fetched(tmp_path, 1, 2, 3, 4)
    held = Hold(tmp_path / one)
    assert prune(tmp_path, 1, named=[two]) == [three]
    held.release()
    assert sorted(prune(tmp_path, 0, named=[two])) == [one, four]
    assert there(tmp_path) == {two}


def test_another_process_holds_it_until_it_ends_however_that_is(tmp_path: Path) -> None:
    (one,) = fetched(tmp_path, 1)
    code = (
        "import sys, pathlib, time; from textmill.registry.bundle_cache import Hold\n"
        "held = Hold(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / one], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    assert prune(tmp_path, 0) == []
    process.kill()
    process.wait()
    assert prune(tmp_path, 0) == [one]


def test_a_program_that_this_process_becomes_goes_on_holding(tmp_path: Path) -> None:
    (one,) = fetched(tmp_path, 1)
    code = (
        "import os, sys, pathlib; from textmill.registry.bundle_cache import Hold\n"
        "Hold(pathlib.Path(sys.argv[1])).keep_through_exec(); os.execv('/bin/cat', ['cat'])"
    )
    given = [sys.executable, "-c", code, tmp_path / one]
    with subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"become\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"become\n"
        assert prune(tmp_path, 0) == []
    assert prune(tmp_path, 0) == [one]


def test_what_is_no_bundle_of_ours_is_left_alone(tmp_path: Path) -> None:
    for name in ("mine", "tiny-1-other", ".hidden", "last-tiny-Production.json"):
        (tmp_path / name).mkdir()
    assert prune(tmp_path, 0) == []
    assert len(there(tmp_path)) == 4


def test_interrupted_fetches_go_when_nobody_is_at_them(tmp_path: Path) -> None:
    left, under_way, begun = (tmp_path / f".tiny-{number}-{CHECKSUM}.abcd" for number in range(3))
    for each in (left, under_way, begun):
        each.mkdir()
    held = Hold(under_way)
    for each in (left, under_way):
        os.utime(each, (time.time() - 3600,) * 2)
    assert prune(tmp_path, 0) == [left.name]
    held.release()
    assert there(tmp_path) == {under_way.name, begun.name}


def test_a_folder_deleted_meanwhile_is_not_held(tmp_path: Path) -> None:
    (one,) = fetched(tmp_path, 1)
    shutil.rmtree(tmp_path / one)
    with pytest.raises(FileNotFoundError):
        Hold(tmp_path / one)


def test_whoever_gets_hold_of_a_bundle_has_it_whole(tmp_path: Path) -> None:
    name = f"tiny-1-{CHECKSUM}"
    stop = threading.Event()
    broken: list[str] = []
    holds = [0]

    def use() -> None:
        while not stop.is_set():
            try:
                held = Hold(tmp_path / name)
            except FileNotFoundError:
                continue
            if not (tmp_path / name / "manifest.json").exists():
                broken.append("deleted while held")
            holds[0] += 1
            held.release()

    users = [threading.Thread(target=use) for _ in range(3)]
    for each in users:
        each.start()
    end = time.monotonic() + 1
    while time.monotonic() < end or not holds[0]:
        made = tmp_path / f".tiny-1-{CHECKSUM}.made"
        made.mkdir()
        (made / "manifest.json").write_text("{}", encoding="utf-8")
        made.rename(tmp_path / name)
        while (tmp_path / name).exists():
            prune(tmp_path, 0)
    stop.set()
    for each in users:
        each.join()
    assert broken == []
