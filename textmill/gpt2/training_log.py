"""What a training leaves to look at: TensorBoard's event files, `history.json`, `samples.txt`; and a word for the console."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import tensorflow as tf

from textmill.files import write_beside

HISTORY = "history.json"
SAMPLES = "samples.txt"


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of a training after a step; means are over the steps since the point before. None: not measured."""

    step: int  # steps done
    held_out_loss: float | None = None  # nats per token
    loss: float | None = None  # mean, nats per token, with dropout
    learning_rate: float | None = None  # of the last step
    gradient_norm: float | None = None  # mean, before clipping
    tokens_per_second: float | None = None  # while training; judging, samples and checkpoints are not counted

    @property
    def scalars(self) -> dict[str, float]:
        """What was measured, by name."""
        return {name: value for name, value in asdict(self).items() if name != "step" and value is not None}


class TrainingLog:
    """The folder that TensorBoard reads."""

    def __init__(self, folder: Path, configuration: str, history: Sequence[Point] = ()) -> None:
        """Open the log; `history` is what a resumed training did before, written again where the folder is new."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._writer = tf.summary.create_file_writer(str(folder))
        with self._writer.as_default(step=0):
            tf.summary.text("configuration", configuration)
        if history and not (folder / HISTORY).exists():
            for point in history:
                self._summarise(point)
            self._write_history(history)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, history: Sequence[Point]) -> None:
        """Log the last point of the history; the file always holds the whole of it."""
        self._summarise(history[-1])
        if history[-1].held_out_loss is not None:
            self._writer.flush()
            self._write_history(history)

    def add_samples(self, step: int, texts: Sequence[str]) -> None:
        """Log sample texts; the file holds all of them, the latest at its end."""
        with self._writer.as_default(step=step):
            for number, text in enumerate(texts):
                tf.summary.text(f"sample/{number}", text)
        self._writer.flush()
        with (self._folder / SAMPLES).open("a", encoding="utf-8") as file:
            for text in texts:
                file.write(f"=== step {step}\n{text}\n\n")

    def _write_history(self, history: Sequence[Point]) -> None:
        rows = [{"step": each.step, **each.scalars} for each in history]
        write_beside(self._folder / HISTORY, json.dumps(rows, indent=1))

    def _summarise(self, point: Point) -> None:
        with self._writer.as_default(step=point.step):
            for name, value in point.scalars.items():
                tf.summary.scalar(name, value)
