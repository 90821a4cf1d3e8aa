"""A training's checkpoint folder: last and best checkpoint, and eviction of old folders.

last.safetensors  weights, optimiser state and step; after the training, only its results
best.safetensors  the weights with the lowest held-out loss, in Hugging Face's names and layouts
task.json         a readable description of the training, and the batch chosen by `batch: auto`
"""

import fcntl
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from textmill.ground.errors import UserError
from textmill.ground.files import write_beside
from textmill.training import checkpoint_file
from textmill.training.checkpoint_file import Arrays, Checkpoint

LAST = "last.safetensors"
BEST = "best.safetensors"
TOKENS = "tokens"  # the folder of token streams, beside the trainings'
_TASK = "task.json"
_STREAM_AGE_S = 7 * 86_400  # since its last use; a stream that is needed again is made again


class Checkpoints:
    """One training's folder, locked for this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> "Checkpoints":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UserError(f"This training is already running in {self.folder}; wait for it or stop it.") from None
        except OSError:  # a file system without locks
            pass
        for partial in self.folder.glob(f".*{checkpoint_file.PARTIAL}"):  # of a process that was killed
            partial.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    @property
    def kept(self) -> Path:
        """The last good checkpoint."""
        return self.folder / (LAST if (self.folder / LAST).exists() else BEST)

    def last(self) -> Checkpoint | None:
        """The last checkpoint, or None. A best one alone is from a run that ended before its first checkpoint."""
        if (self.folder / LAST).exists():
            return checkpoint_file.load(self.folder / LAST)
        (self.folder / BEST).unlink(missing_ok=True)
        return None

    def best(self, values_only: bool = False) -> Checkpoint:
        """The weights with the lowest held-out loss, that loss, and their step."""
        return checkpoint_file.load(self.folder / BEST, values_only)

    def save_last(self, tensors: Arrays, values: Mapping[str, Any]) -> None:
        checkpoint_file.save(self.folder / LAST, tensors, values)

    def save_best(self, weights: Arrays, step: int, held_out_loss: float) -> None:
        checkpoint_file.save(self.folder / BEST, weights, {"step": step, "held_out_loss": held_out_loss})

    def task(self) -> dict[str, Any]:
        """The stored description; empty if there is none."""
        path = self.folder / _TASK
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def describe(self, task: Mapping[str, Any]) -> None:
        write_beside(self.folder / _TASK, json.dumps(task, indent=1))


def ended(values: Mapping[str, Any]) -> bool:
    """Whether a last checkpoint's values are of a finished training."""
    return bool(values.get("ended"))


def prune(folder: Path, keep: int) -> None:
    """Delete all but the `keep` latest finished trainings in a folder, and long-unused token streams.

    Unfinished trainings are never deleted.
    """
    done = [path for path in folder.glob(f"*/{LAST}") if _has_ended(path)]
    for path in sorted(done, key=lambda path: -path.stat().st_mtime)[keep:]:
        going = path.parent.with_name(f".{path.parent.name}.deleted")
        path.parent.rename(going)  # at once: half a folder would be taken for a training
        shutil.rmtree(going, ignore_errors=True)
    for left in folder.glob(".*.deleted"):
        shutil.rmtree(left, ignore_errors=True)
    for stream in (folder / TOKENS).glob("*"):
        if time.time() - stream.stat().st_mtime > _STREAM_AGE_S:
            stream.unlink(missing_ok=True)


def _has_ended(path: Path) -> bool:
    try:
        return ended(checkpoint_file.load(path, values_only=True).values)
    except UserError:  # damaged: for a person to look at
        return False
