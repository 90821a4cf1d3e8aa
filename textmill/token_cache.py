"""Tokens of articles, kept by content and tokenizer, so that a run tokenises only what is new.

One SQLite file for each tokenizer, in one folder. Several processes of one machine may use it at once. It may be
deleted at any time, and so may each file.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BUSY_S = 60
_FORMAT = "1"


class TokenCache:
    """The tokens of one tokenizer's articles."""

    def __init__(self, folder: Path, tokenizer: str, vocabulary: int) -> None:
        """Open or make the cache of the tokenizer with this `tokenizer.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(f"{_FORMAT}\0{tokenizer}".encode()).hexdigest()
        self._kind = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
        self.path = folder / f"{digest[:32]}.sqlite"
        try:
            self._database = self._open()
        except sqlite3.OperationalError:  # locked for a minute, or not to be written
            raise
        except sqlite3.DatabaseError:  # damaged, or no database: what it held can be had again
            _remove(self.path)
            self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        # not `WITHOUT ROWID`: rows in the order they came in, so that the oldest can be dropped, and a small index
        database.execute("CREATE TABLE IF NOT EXISTS tokens (content BLOB PRIMARY KEY, tokens BLOB NOT NULL)")
        return database

    def get(self, contents: Iterable[str]) -> dict[str, NDArray[np.uint32]]:
        """The tokens of those that are here, by content hash (hex digits)."""
        wanted = [bytes.fromhex(content) for content in contents]
        places = ",".join("?" * len(wanted))
        rows = self._database.execute(f"SELECT content, tokens FROM tokens WHERE content IN ({places})", wanted)
        return {content.hex(): np.frombuffer(tokens, self._kind).astype(np.uint32) for content, tokens in rows}

    def put(self, tokens: Mapping[str, NDArray[np.uint32]]) -> None:
        """Keep the tokens of these contents."""
        rows = [(bytes.fromhex(content), each.astype(self._kind).tobytes()) for content, each in tokens.items()]
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT OR IGNORE INTO tokens VALUES (?, ?)", rows)
        self._database.execute("COMMIT")

    def prune(self, limit: int) -> None:
        """Bring the folder down to so many bytes: other tokenizers' files go first, then this one's oldest articles."""
        others = sorted(
            (f for f in self.path.parent.glob("*.sqlite") if f != self.path), key=lambda f: f.stat().st_mtime
        )
        for file in others:
            if self._used() + sum(other.stat().st_size for other in others if other.exists()) <= limit:
                return
            _remove(file)
        while (used := self._used()) > limit:
            (rows,) = self._database.execute("SELECT count(*) FROM tokens").fetchone()
            drop = max(1, rows - int(rows * 0.9 * limit / used))
            self._database.execute(
                "DELETE FROM tokens WHERE rowid IN (SELECT rowid FROM tokens ORDER BY rowid LIMIT ?)", (drop,)
            )
            if drop >= rows:
                return

    def _used(self) -> int:
        """Bytes of pages in use: a file keeps those that were freed, and fills them again."""
        pages, free, size = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._database.close()


def _remove(file: Path) -> None:
    for end in ("", "-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
