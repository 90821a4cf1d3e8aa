"""Training logs: TensorBoard's event files, `history.json` and `samples.txt`.

Event files use TensorBoard's own records and protocol buffers. Its `EventFileWriter` would import TensorFlow, which other
backends do not need.
"""

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from textmill.ground.files import write_beside

HISTORY = "history.json"
SAMPLES = "samples.txt"


@dataclass(frozen=True, slots=True)
class Point:
    """Metrics after a step. Means cover the steps since the previous point. None: not measured."""

    step: int  # steps done
    held_out_loss: float | None = None  # nats per token
    loss: float | None = None  # mean, nats per token, with dropout
    learning_rate: float | None = None  # of the last step
    gradient_norm: float | None = None  # mean, before clipping
    tokens_per_second: float | None = None  # while training; judging, samples and checkpoints are not counted

    @property
    def scalars(self) -> dict[str, float]:
        """The measured metrics, by name."""
        return {name: value for name, value in asdict(self).items() if name != "step" and value is not None}


@dataclass(frozen=True, slots=True)
class Samples:
    """Sample texts generated after a step."""

    step: int
    texts: tuple[str, ...]


class TrainingLog:
    """The folder of TensorBoard's event files."""

    def __init__(
        self, folder: Path, configuration: str, history: Sequence[Point] = (), samples: Sequence[Samples] = ()
    ) -> None:
        """Open the log. A resumed training's earlier `history` and `samples` are written again to a new folder.

        Args:
            configuration: Markdown, shown as text.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(0, file_version="brain.Event:2")
        # a resumed training repeats its points: TensorBoard drops those of the part before
        self._write(0, session_log=SessionLog(status=SessionLog.START))
        self._write(0, summary=text_pb("configuration", configuration))
        if history and not (folder / HISTORY).exists():
            for point in history:
                self._summarise(point)
            self._write_history(history)
        if samples and not (folder / SAMPLES).exists():
            for each in samples:
                self.add_samples(each)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, history: Sequence[Point]) -> None:
        """Log the last point of the history. The file always has the whole history."""
        self._summarise(history[-1])
        if history[-1].held_out_loss is not None:
            self._file.flush()
            self._write_history(history)

    def add_samples(self, samples: Samples) -> None:
        """Log sample texts. The file has all of them, latest last."""
        for number, text in enumerate(samples.texts):
            self._write(samples.step, summary=text_pb(f"sample/{number}", text))
        self._file.flush()
        with (self._folder / SAMPLES).open("a", encoding="utf-8") as file:
            for text in samples.texts:
                file.write(f"=== step {samples.step}\n{text}\n\n")

    def _write_history(self, history: Sequence[Point]) -> None:
        rows = [{"step": each.step, **each.scalars} for each in history]
        write_beside(self._folder / HISTORY, json.dumps(rows, indent=1))

    def _summarise(self, point: Point) -> None:
        for name, value in point.scalars.items():
            self._write(point.step, summary=scalar_pb(name, value))

    def _write(self, step: int, **what: Any) -> None:
        self._records.write(Event(wall_time=time.time(), step=step, **what).SerializeToString())
