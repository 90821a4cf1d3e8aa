"""What Textmill stores on a machine is for its owner alone: logs may name readers, the store has texts."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from textmill.ground import files
from textmill.local_servers import servers


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _lock(data: Path) -> None:
    with files.alone(data):
        pass


@pytest.mark.parametrize("make", [lambda data: servers.log_of(data, "serve-1"), _lock])
def test_the_data_folder_is_made_for_its_owner_alone_and_so_are_logs(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(files.RUN_LOCK, raising=False)
    former = os.umask(0o022)
    try:
        make(tmp_path / "new" / "data")
    finally:
        os.umask(former)
    made = tmp_path / "new" / "data"
    assert (_mode(made), _mode(made.parent)) == (0o700, 0o755)
    for log in made.rglob("*.log"):
        assert (_mode(log), _mode(log.parent)) == (0o600, 0o700)


def test_a_folder_that_exists_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    assert _mode(files.private_folder(tmp_path)) == 0o750
