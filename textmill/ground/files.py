"""Write files and folders atomically: under a temporary name, then renamed."""

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
    """Write a file atomically: a crash leaves the old or the new one, never a part; text is UTF-8."""
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


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner can enter. One that exists keeps its permissions."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def folder_beside(path: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder that is renamed to `path` if the block succeeds, and deleted otherwise.

    An empty folder at `path` is replaced; one with files only if `replace` is set.
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
    """Create the folder, or delete everything in it, so that old output is not mistaken for new."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    return folder


@contextmanager
def alone(data: Path) -> Iterator[int]:
    """Lock a data folder against other runs, which would share its metadata and checkpoints; yield the lock's descriptor.

    A child process that inherits the descriptor, and its number in RUN_LOCK, may enter.

    Raises:
        UserError: another run holds the lock.
    """
    if held := os.environ.get(RUN_LOCK):
        yield int(held)
        return
    private_folder(data)
    with (data / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another run is using {data}; wait until it ends, or stop it.") from None
        yield lock.fileno()
