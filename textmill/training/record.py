"""A training's progress: the values in its last checkpoint besides tensors."""

from dataclasses import asdict, dataclass
from typing import Any

from textmill.ground.errors import UserError
from textmill.training.checkpoint_file import FROM_THE_START, Arrays
from textmill.training.checkpoints import Checkpoints
from textmill.training.log import Point, Samples


@dataclass(slots=True)
class Record:
    """A training's progress over all its runs."""

    step: int  # steps done
    seconds: float
    history: list[Point]
    samples: list[Samples]
    ended: str  # why, or empty
    batch: int  # windows per pass; 0: not chosen yet, or not in an older checkpoint
    state: Arrays | None  # the training step's, where it goes on

    @classmethod
    def of(cls, kept: Checkpoints) -> "Record":
        """Read it from the last checkpoint; without one, create a new one.

        Raises:
            UserError: the checkpoint is damaged.
        """
        last = kept.last()
        if last is None:
            return cls(0, 0.0, [], [], "", 0, None)
        values = last.values
        batch = values.get("batch", 0)
        try:
            history = [Point(**each) for each in values["history"]]
            samples = [Samples(step, tuple(texts)) for step, texts in values["samples"]]
            return cls(values["step"], values["seconds"], history, samples, values["ended"], batch, last.tensors)
        except (KeyError, TypeError, ValueError) as error:  # the header of older files has no checksum
            raise UserError(f"The checkpoint {kept.kept} is damaged ({error!r}); {FROM_THE_START}.") from error

    @property
    def values(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "history": [asdict(each) for each in self.history],
            "samples": [[each.step, each.texts] for each in self.samples],
            "ended": self.ended,
            "batch": self.batch,
        }

    @property
    def held_out_loss(self) -> float:
        """The latest."""
        return next(each.held_out_loss for each in reversed(self.history) if each.held_out_loss is not None)

    def looks_since(self, step: int) -> int:
        """The number of evaluations of the held-out loss since then."""
        return sum(each.step > step and each.held_out_loss is not None for each in self.history)


class Meter:
    """Sums over the steps since the last point."""

    def __init__(self) -> None:
        self.steps = self.tokens = 0
        self.loss = self.norm = self.seconds = 0.0

    def add(self, loss: float, norm: float, tokens: int, seconds: float) -> None:
        self.steps += 1
        self.loss += loss
        self.norm += norm
        self.tokens += tokens
        self.seconds += seconds

    def point(self, step: int, rate: float, held_out_loss: float | None) -> Point:
        speed = self.tokens / self.seconds if self.seconds else None
        return Point(step, held_out_loss, self.loss / self.steps, rate, self.norm / self.steps, speed)
