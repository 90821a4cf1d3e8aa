"""A training's checkpoint folder: the last two checkpoints and the best weights, and eviction of old folders.

last.safetensors      weights, optimiser state and step; after the training, only its results
previous.safetensors  the checkpoint before, used where the last one is damaged; after the training, the results again
best.safetensors      the weights with the lowest held-out loss, in Hugging Face's names and layouts
task.json             a readable description of the training
"""

import fcntl
import json
import math
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from textmill.console import progress
from textmill.ground.errors import UserError
from textmill.ground.files import write_beside
from textmill.training import checkpoint_file
from textmill.training.checkpoint_file import Arrays, Checkpoint

LAST = "last.safetensors"
PREVIOUS = "previous.safetensors"
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
        if not (self.folder / LAST).exists() and (self.folder / PREVIOUS).exists():
            (self.folder / PREVIOUS).replace(self.folder / LAST)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    @property
    def kept(self) -> Path:
        """The last good checkpoint."""
        found = (each for each in (LAST, PREVIOUS) if (self.folder / each).exists())
        return self.folder / next(found, BEST)

    def last(self) -> Checkpoint | None:
        """The last readable checkpoint, or None. Best weights alone are of a run that ended before its first one.

        Raises:
            UserError: there are checkpoints, but none can be read.
        """
        last, previous = self.folder / LAST, self.folder / PREVIOUS
        if not last.exists():
            (self.folder / BEST).unlink(missing_ok=True)
            return None
        try:
            found = checkpoint_file.load(last)
            if ended(found.values):  # killed between the two, it left a large one
                checkpoint_file.save(previous, found.tensors, found.values)
            return found
        except UserError as error:
            if not previous.exists():
                raise
            found = checkpoint_file.load(previous)
            progress.note(f"{str(error).partition(';')[0]}; resuming from the one before it")
            previous.replace(last)
            return found

    def best(self) -> Checkpoint:
        """The weights with the lowest held-out loss, that loss, and their step."""
        return checkpoint_file.load(self.folder / BEST)

    def best_so_far(self, step: int) -> tuple[int, float]:
        """The step and held-out loss of the best weights, for a training that resumes after `step`.

        Raises:
            UserError: the weights are damaged: better noticed now than after the last step.
        """
        path = self.folder / BEST
        if not path.exists():
            progress.note(f"{path} is missing; the best weights are chosen from the evaluations to come")
            return step, math.inf
        cure = "delete this file to choose the best weights from the evaluations to come"
        values = checkpoint_file.load(path, cure=cure).values
        return values["step"], values["held_out_loss"]

    def save_last(self, tensors: Arrays, values: Mapping[str, Any]) -> None:
        """Write the last checkpoint. The one before it stays beside it.

        Never more than two of these large files exist at once, the one being written included.
        """
        last, previous = self.folder / LAST, self.folder / PREVIOUS
        if last.exists():
            previous.unlink(missing_ok=True)
            try:
                previous.hardlink_to(last)
            except OSError:  # a file system without hard links: `__enter__` renames it back after a crash
                last.replace(previous)
        checkpoint_file.save(last, tensors, values)
        if ended(values):
            checkpoint_file.save(previous, tensors, values)

    def save_best(self, weights: Arrays, step: int, held_out_loss: float) -> None:
        checkpoint_file.save(self.folder / BEST, weights, {"step": step, "held_out_loss": held_out_loss})

    def described_batch(self) -> int:
        """The batch in the description; the values of older checkpoints lack it.

        Raises:
            UserError: the description is absent or damaged.
        """
        path = self.folder / _TASK
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["batch"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"The description {path} cannot be read ({error!r}); {checkpoint_file.FROM_THE_START}."
            ) from error

    def finished_before(self, steps: int) -> int | None:
        """The steps of a finished training of the described one's family, with another number of steps."""
        family = json.loads((self.folder / _TASK).read_text(encoding="utf-8"))["family"]
        for path in sorted(self.folder.parent.glob(f"*/{_TASK}")):
            with suppress(OSError, ValueError, TypeError, KeyError):  # of another form, or damaged
                found = json.loads(path.read_text(encoding="utf-8"))
                others = int(found["train"]["steps"])
                if found["family"] == family and others != steps and _has_ended(path.with_name(LAST)):
                    return others
        return None

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
