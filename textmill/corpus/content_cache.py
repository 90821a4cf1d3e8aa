"""Cache of computed values by content hash, so that a run computes only what is new.

There is one SQLite file per algorithm. Processes of one machine may share it, and you may delete it at any time. If a
file is damaged, locked, unreadable or unwritable, its values count as absent.
"""

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from textmill.console import progress

CONTENTS_AT_ONCE = 500  # SQLite takes a thousand parameters
_BUSY_S = 60
_TRIES, _BETWEEN_TRIES_S = 20, 0.05
_FORMAT = "2"  # of the files; 2: values have checksums


class ContentCache:
    """The cached values of one algorithm, by content hash (hex digits)."""

    def __init__(self, folder: Path, way: str) -> None:
        """Open or create the file for an algorithm; `way` names the algorithm and its version."""
        digest = hashlib.sha256(f"{_FORMAT}\0{way}".encode()).hexdigest()
        self.path = folder / f"{digest[:32]}.sqlite"
        self._database: sqlite3.Connection | None = None
        with self._harmless():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                _remove(self.path)
                self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        # Beam sets a worker up in one thread and may use it in another, never in two at once
        database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        _share(database)
        database.execute("PRAGMA synchronous = NORMAL")
        # not `WITHOUT ROWID`: rows in the order they came in, so that the oldest can be dropped, and a small index
        database.execute("CREATE TABLE IF NOT EXISTS kept (content BLOB PRIMARY KEY, value BLOB NOT NULL)")
        return database

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """On an error, continue without the file. A damaged file is deleted, so that the next run starts a new one."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            progress.note(f"The cache in {self.path.parent} is off for the rest of this step ({error}).")
            self.close()
            if _damaged(error):
                with suppress(OSError):
                    _remove(self.path)

    def get(self, contents: Iterable[str]) -> dict[str, bytes]:
        """The cached values of these contents, at most CONTENTS_AT_ONCE. Damaged values are absent."""
        wanted = [bytes.fromhex(content) for content in contents]
        found: dict[str, bytes] = {}
        with self._harmless():
            if self._database:
                places = ",".join("?" * len(wanted))
                query = f"SELECT content, value FROM kept WHERE content IN ({places})"
                for content, value in self._database.execute(query, wanted):
                    if value[:4] == _checksum(content, value[4:]):
                        found[content.hex()] = value[4:]
        return found

    def put(self, values: Mapping[str, bytes]) -> None:
        """Cache the values of these contents."""
        keyed = ((bytes.fromhex(content), value) for content, value in values.items())
        rows = [(content, _checksum(content, value) + value) for content, value in keyed]
        with self._harmless():
            if self._database and rows:
                self._database.execute("BEGIN IMMEDIATE")
                # replaced: one that is here and was not given back is damaged
                self._database.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", rows)
                self._database.execute("COMMIT")

    def prune(self, limit: int) -> None:
        """Evict down to `limit` bytes: other algorithms' files first, then this one's oldest entries."""
        with self._harmless():
            if self._database:
                self._prune(self._database, limit)

    def _prune(self, database: sqlite3.Connection, limit: int) -> None:
        others = sorted(
            (f for f in self.path.parent.glob("*.sqlite") if f != self.path), key=lambda f: f.stat().st_mtime
        )
        for file in others:
            if _used(database) + sum(other.stat().st_size for other in others if other.exists()) <= limit:
                return
            _remove(file)
        while (used := _used(database)) > limit:
            (rows,) = database.execute("SELECT count(*) FROM kept").fetchone()
            drop = max(1, rows - int(rows * 0.9 * limit / used))
            database.execute("DELETE FROM kept WHERE rowid IN (SELECT rowid FROM kept ORDER BY rowid LIMIT ?)", (drop,))
            if drop >= rows:
                return

    def close(self) -> None:
        """Close the file. After that the cache is empty and stores nothing."""
        if self._database:
            with suppress(sqlite3.Error):
                self._database.close()
        self._database = None


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache's folder and its limit in bytes; 0 turns it off."""

    folder: str = ""
    limit: int = 0

    def open(self, way: str) -> ContentCache | None:
        """Open the cache of this algorithm; None if it is off."""
        return ContentCache(Path(self.folder), way) if self.limit else None

    def prune(self, way: str) -> None:
        """Evict down to the limit, other algorithms' values first."""
        if opened := self.open(way):
            opened.prune(self.limit)
            opened.close()


def _share(database: sqlite3.Connection) -> None:
    """Allow reads during a write. SQLite does not wait if several processes create a file at once."""
    for left in reversed(range(_TRIES)):
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(_BETWEEN_TRIES_S)


def _checksum(content: bytes, value: bytes) -> bytes:
    return int(google_crc32c.extend(google_crc32c.value(content), value)).to_bytes(4)


def _used(database: sqlite3.Connection) -> int:
    """Bytes of pages in use. The file keeps freed pages and reuses them."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _damaged(error: BaseException) -> bool:
    """Whether the file is damaged or not a database. SQLite's other errors are subclasses of this one."""
    return type(error) is sqlite3.DatabaseError


def _remove(file: Path) -> None:
    for end in ("", "-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
