"""The outbox of ratings: on disk before they are acknowledged, delivered later, each exactly once.

The outbox is a folder of segments: append-only files with one JSON object a line. The server writes them.
`serving.feedback.delivery` reads them, records its position in a file of its own, and deletes delivered segments. A line
may be delivered twice; ratings are stored by id, so the second time changes nothing.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from textmill.ground.files import private_folder, write_beside
from textmill.monitoring.feedback_store import Rating

_SEGMENT_BYTES = 1 << 20
_BATCH = 500  # ratings
_PROGRESS = "delivered.json"
_ASIDE = "put-aside.ndjson"  # ratings that no store takes, each with the reason
_LEAST_FREE = 16 << 20  # bytes on the outbox's disk
_LATE_S = 300  # a rating that has waited so long is a problem


class Outbox:
    """The writing end. Safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failure = ""  # why the last rating could not be written; empty if it was
        self._lock = threading.Lock()
        self._segment: int | None = None  # its file's descriptor; none until the first rating, or after a failure

    def add(self, rating: Rating) -> None:
        """Write a rating to disk.

        Raises:
            OSError: the disk is full or absent; the rating is not recorded.
        """
        line = json.dumps(asdict(rating), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            try:
                self._write(line)
            except OSError as error:
                self.failure = os.strerror(error.errno) if error.errno else str(error)
                raise
            self.failure = ""

    def _write(self, line: bytes) -> None:
        if self._segment is None or os.fstat(self._segment).st_size >= _SEGMENT_BYTES:
            self._begin_segment()
        assert self._segment is not None
        before = os.fstat(self._segment).st_size
        try:
            if os.write(self._segment, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._segment)
        except OSError:
            self._take_back(before)
            raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._segment is not None:
                os.close(self._segment)
                self._segment = None

    def _begin_segment(self) -> None:
        if self._segment is not None:
            os.close(self._segment)
            self._segment = None
        private_folder(self.folder)
        path = self.folder / f"{time.time_ns():020}-{os.getpid()}.jsonl"
        self._segment = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)  # the file's name too must survive a power cut
        finally:
            os.close(directory)

    def _take_back(self, size: int) -> None:
        """Undo a failed write. The next rating starts a new file."""
        segment, self._segment = self._segment, None
        assert segment is not None
        try:
            os.ftruncate(segment, size)
        finally:
            os.close(segment)


class Undelivered:
    """The reading end, for one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reached: dict[str, int] = _progress(folder)
        self._pending: dict[str, int] = {}
        self._aside: set[bytes] | None = None  # the lines put aside; not read yet

    def batch(self) -> list[Rating]:
        """The next ratings, oldest first. Returns the same ones until `done` is called.

        Raises:
            OSError: the outbox cannot be read, or a line that is no rating cannot be put aside.
        """
        found: list[Rating] = []
        self._pending = {}
        for segment in self._segments():
            for line, end in self._lines(segment):
                if rating := _rating(line):
                    found.append(rating)
                else:
                    self._keep_aside({"reason": "The line is not a rating.", "line": line.decode(errors="replace")})
                self._pending[segment.name] = end
                if len(found) == _BATCH:
                    return found
        return found

    def done(self) -> None:
        """Mark the last batch as delivered."""
        if not self._pending:
            return
        self._reached |= self._pending
        self._pending = {}
        segments = self._segments()
        for segment in segments[:-1]:  # the last one may still grow
            if self._reached.get(segment.name, 0) >= segment.stat().st_size:
                segment.unlink()
        present = {segment.name for segment in self._segments()}
        self._reached = {name: end for name, end in self._reached.items() if name in present}
        write_beside(self._folder / _PROGRESS, json.dumps(self._reached))

    def put_aside(self, rating: Rating, reason: str) -> None:
        """Move a rating that cannot be delivered to a separate file, with the reason. The second time changes nothing.

        Raises:
            OSError: the file cannot be written.
        """
        self._keep_aside({"reason": reason[:300], "rating": asdict(rating)})

    def _keep_aside(self, entry: dict[str, Any]) -> None:
        path = self._folder / _ASIDE
        if self._aside is None:  # a process that died before `done` may have written some of this batch
            self._aside = _whole_lines(path)
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        if line in self._aside:
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, line) != len(line):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._aside.add(line)

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _lines(self, segment: Path) -> Iterator[tuple[bytes, int]]:
        """Each whole line that is not delivered yet, with the place after it."""
        end = self._reached.get(segment.name, 0)
        with segment.open("rb") as file:
            file.seek(end)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is still being written
                end += len(line)
                yield line, end


def _progress(folder: Path) -> dict[str, int]:
    """The bytes delivered of each segment."""
    try:
        return {str(name): int(end) for name, end in json.loads((folder / _PROGRESS).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}  # then all is delivered again, which changes nothing


def _rating(line: bytes) -> Rating | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        return Rating(**fields)
    except (ValueError, TypeError):
        return None


def _whole_lines(path: Path) -> set[bytes]:
    """The lines of a file, from which the beginning of a line at its end is cut."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return set()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    return set(whole.splitlines(keepends=True))


@dataclass(frozen=True, slots=True)
class Backlog:
    """What an outbox holds."""

    waiting: int  # ratings to deliver
    age_s: float  # of the oldest of them
    aside: int  # ratings that no store takes

    @classmethod
    def of(cls, folder: Path) -> "Backlog":
        """Count an outbox's lines. An outbox of thousands takes milliseconds, so call it in a thread."""
        reached, waiting, age_s = _progress(folder), 0, 0.0
        for segment in sorted(folder.glob("*.jsonl")):
            with suppress(FileNotFoundError), segment.open("rb") as file:  # it may be delivered meanwhile
                file.seek(reached.get(segment.name, 0))
                lines = file.read().splitlines()
                oldest = _rating(lines[0]) if lines and not waiting else None
                age_s = time.time() - datetime.fromisoformat(oldest.time).timestamp() if oldest else age_s
                waiting += len(lines)
        aside = folder / _ASIDE
        return cls(waiting, max(0.0, round(age_s, 1)), aside.read_bytes().count(b"\n") if aside.exists() else 0)

    def problems(self) -> list[str]:
        """Problems for operators, one sentence each; empty if there are none."""
        found = []
        if self.age_s > _LATE_S:
            found.append(
                f"The oldest rating has waited {self.age_s / 60:.0f} minutes for delivery; check that MongoDB answers."
            )
        if self.aside:
            found.append(f"{self.aside} ratings could not be stored; {_ASIDE} holds them with the reasons.")
        return found


def disk_problem(outbox: Outbox) -> list[str]:
    """Whether ratings can be written: no sentence, or the one that says why not."""
    if outbox.failure:
        return [f"The last rating could not be written to {outbox.folder} ({outbox.failure}); free space on its disk."]
    place = next(each for each in (outbox.folder, *outbox.folder.absolute().parents) if each.exists())
    disk = os.statvfs(place)
    if (free := disk.f_bavail * disk.f_frsize) < _LEAST_FREE:
        return [f"The disk of {outbox.folder} has {free >> 20} MB left; free space, or ratings will be refused."]
    return []
