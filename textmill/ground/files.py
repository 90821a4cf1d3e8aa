"""Files that are whole or absent: written beside their place, then renamed into it."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textmill.ground.errors import UserError

RUN_LOCK = "TEXTMILL_RUN_LOCK"  # the lock that the process which started this one holds


def write_beside(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the former one or the new one, never half of it; text is UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path, replace: bool = False) -> Iterator[Path]:
    """A new folder to write into, which takes its place when the block ends well; else nothing of it stays.

    An empty folder in that place gives way; one that holds something only with `replace`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield partial
        partial.chmod(0o755)  # a temporary directory is its owner's alone
        if replace and path.exists():
            former = partial.with_name(f"{partial.name}.former")
            path.rename(former)
            partial.rename(path)
            shutil.rmtree(former)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def emptied(folder: Path) -> Path:
    """The folder, made or emptied: what a former life left there is not taken for this one's work."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    return folder


@contextmanager
def alone(data: Path) -> Iterator[int]:
    """Keep other runs out of a data folder: they would share its metadata and its checkpoints. Gives the lock's descriptor.

    A process that is given the descriptor, and its number in RUN_LOCK, is let in.

    Raises:
        UserError: another run is under way.
    """
    if held := os.environ.get(RUN_LOCK):
        yield int(held)
        return
    data.mkdir(parents=True, exist_ok=True)
    with (data / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another run is under way in {data}; wait for its end, or stop it.") from None
        yield lock.fileno()
