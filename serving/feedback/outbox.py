"""The outbox of ratings: on disk before they are acknowledged, delivered later, each exactly once.

The outbox is a folder of segments: append-only files with one JSON object a line. The server writes them.
`serving.feedback.delivery` reads them, records its position in a file of its own, and deletes delivered segments. A line
may be delivered twice; ratings are stored by id, so the second time changes nothing.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from textmill.ground.files import write_beside
from textmill.monitoring.feedback_store import Rating

_SEGMENT_BYTES = 1 << 20
_BATCH = 500  # ratings
_PROGRESS = "delivered.json"
_ASIDE = "put-aside.ndjson"  # ratings that no store takes, each with the reason
_LATE_S = 300  # a rating that has waited so long is a problem


class Outbox:
    """The writing end. Safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._segment: int | None = None  # its file's descriptor; none until the first rating, or after a failure

    def add(self, rating: Rating) -> None:
        """Write a rating to disk.

        Raises:
            OSError: the disk is full or absent; the rating is not recorded.
        """
        line = json.dumps(asdict(rating), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            if self._segment is None or os.fstat(self._segment).st_size >= _SEGMENT_BYTES:
                self._begin_segment()
            assert self._segment is not None
            before = os.fstat(self._segment).st_size
            try:
                if os.write(self._segment, line) != len(line):
                    raise OSError("the line was written only in part")
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
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{time.time_ns():020}-{os.getpid()}.jsonl"
        self._segment = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        directory = os.open(self._folder, os.O_RDONLY)
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

    def batch(self) -> list[Rating]:
        """The next ratings, oldest first. Returns the same ones until `done` is called."""
        found: list[Rating] = []
        self._pending = {}
        for segment in self._segments():
            for rating, end in self._lines(segment):
                if rating is not None:
                    found.append(rating)
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
        """Move a rating that cannot be delivered to a separate file, with the reason."""
        line = json.dumps({"reason": reason[:300], "rating": asdict(rating)}, ensure_ascii=False)
        with (self._folder / _ASIDE).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _lines(self, segment: Path) -> Iterator[tuple[Rating | None, int]]:
        """Each whole line that is not delivered yet, with the place after it; None for one that is no rating."""
        end = self._reached.get(segment.name, 0)
        with segment.open("rb") as file:
            file.seek(end)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is still being written
                end += len(line)
                yield _rating(line), end


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


def problems(folder: Path) -> list[str]:
    """Problems of an outbox for operators, one sentence each; empty if there are none."""
    found = []
    reached = _progress(folder)
    waiting = [each for each in sorted(folder.glob("*.jsonl")) if each.stat().st_size > reached.get(each.name, 0)]
    if waiting:
        with waiting[0].open("rb") as file:
            file.seek(reached.get(waiting[0].name, 0))
            oldest = _rating(file.readline())
        age_s = time.time() - datetime.fromisoformat(oldest.time).timestamp() if oldest else 0
        if age_s > _LATE_S:
            found.append(
                f"The oldest rating has waited {age_s / 60:.0f} minutes for delivery; check that MongoDB answers."
            )
    aside = folder / _ASIDE
    if aside.exists():
        with aside.open("rb") as file:
            count = sum(1 for _ in file)
        found.append(f"{count} ratings could not be stored; {aside.name} holds them with the reasons.")
    return found
