"""The shared folder of downloaded bundles: hold a bundle in use, delete unused ones.

A user of a bundle holds a shared flock on its folder, which ends with the process. Deleting a bundle takes the
exclusive lock, so a bundle in use is never deleted. On a file system without flock, nothing is deleted.
"""

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_FETCHED = re.compile(r"[^.].*-\d+-[0-9a-f]{12}|remote-[0-9a-f]{16}")  # a version of the registry, or a worker's
_PARTIAL = re.compile(rf"\.({_FETCHED.pattern})\.\w+")  # being fetched, or being deleted
_BEGUN_S = 600  # from which on a partial one that nobody holds was left by an interrupted process


class Hold:
    """A lock that keeps a bundle's folder from being deleted until `release`."""

    def __init__(self, directory: Path) -> None:
        """Hold a folder.

        Raises:
            FileNotFoundError: the folder does not exist, or was just deleted.
        """
        self.directory = directory
        self._descriptor: int | None = os.open(directory, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks, where nothing is ever deleted
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        if not _is_at(self._descriptor, directory):
            self.release()
            raise FileNotFoundError(directory)
        self._note_use()

    def release(self) -> None:
        """Release the lock; repeated calls have no effect."""
        if self._descriptor is not None:
            self._note_use()
            os.close(self._descriptor)
            self._descriptor = None

    def moved(self, directory: Path) -> None:
        """Record that the folder was renamed; the lock stays."""
        self.directory = directory

    def keep_through_exec(self) -> None:
        """Keep the lock when this process executes another program."""
        assert self._descriptor is not None
        os.set_inheritable(self._descriptor, True)

    def _note_use(self) -> None:
        assert self._descriptor is not None
        with suppress(OSError):
            os.utime(self._descriptor)


def prune(folder: Path, keep: int, named: Collection[str] = ()) -> list[str]:
    """Delete unused bundles in a folder, and leftovers of interrupted processes; return their names.

    Args:
        keep: number of unused bundles to keep, the most recently used first.
        named: names of bundles to keep in any case.
    """
    folders = [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
    entries = [each for each in folders if each.name not in named]
    unused = [each for each in entries if _FETCHED.fullmatch(each.name) and not _used(each)]
    unused.sort(key=_last_used, reverse=True)
    left = [each for each in entries if _PARTIAL.fullmatch(each.name) and _last_used(each) < time.time() - _BEGUN_S]
    return [each.name for each in [*unused[keep:], *left] if _delete(each)]


def _last_used(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except FileNotFoundError:  # another process has deleted it
        return 0.0


def _used(directory: Path) -> bool:
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def _delete(directory: Path) -> bool:
    """Delete a bundle unless somebody uses it: out of sight first, so that none is ever seen in part."""
    name = directory.name if directory.name.startswith(".") else f".{directory.name}.{secrets.token_hex(4)}"
    gone = directory.with_name(name)
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(descriptor, directory):
            return False
        directory.rename(gone)
        shutil.rmtree(gone)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open folder is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
