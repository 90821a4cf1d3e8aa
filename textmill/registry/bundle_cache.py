"""Bundles fetched into a folder that servers, commands and steps share: who uses one, and which may be deleted.

Whoever uses a bundle holds a lock on its folder (flock, shared), which ends with the process however that ends. A bundle is
deleted under the exclusive lock alone, so never while anybody uses it. Where a file system has no such locks, nothing is
deleted.
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
    """A bundle's folder that nobody deletes until it is released."""

    def __init__(self, directory: Path) -> None:
        """Hold a folder.

        Raises:
            FileNotFoundError: it is not there, or not any more.
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
        """Let go; more than once does no harm."""
        if self._descriptor is not None:
            self._note_use()
            os.close(self._descriptor)
            self._descriptor = None

    def moved(self, directory: Path) -> None:
        """The folder has another name; it is held all the same."""
        self.directory = directory

    def keep_through_exec(self) -> None:
        """Hold it for the program, too, that this process becomes."""
        assert self._descriptor is not None
        os.set_inheritable(self._descriptor, True)

    def _note_use(self) -> None:
        assert self._descriptor is not None
        with suppress(OSError):
            os.utime(self._descriptor)


def prune(folder: Path, keep: int, named: Collection[str] = ()) -> list[str]:
    """Delete the bundles in a folder that nobody uses, and what interrupted processes have left; returns their names.

    Args:
        keep: how many of them stay, those used last.
        named: the names of others that stay in any case.
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
