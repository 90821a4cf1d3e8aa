"""Training data: a token stream on disk, and each step's batch as a function of it.

A step's tokens depend only on the stream, the seed and the step's number, so a resumed training has no position to
restore.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textmill.corpus import tfrecords
from textmill.ground.errors import TextmillError, UserError

Tokens = NDArray[np.int32]
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TokenStream:
    """All tokens of a split, mapped from a file and read on demand."""

    tokens: NDArray[np.unsignedinteger]  # shape (tokens,)
    digest: str  # of the window files it was made from, 64 hex digits

    @classmethod
    def pack(cls, files: Sequence[Path], vocabulary: int, folder: Path) -> "TokenStream":
        """Join window files, in the given order, into one file in `folder`. An existing one with the same digest is used.

        Args:
            files: TFRecords of tf.Example with an int64 feature `tokens`.
            vocabulary: every token must be below this.

        Raises:
            UserError: there are no tokens.
            TextmillError: a file is damaged or has a token outside the vocabulary.
        """
        kind = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
        digest = _digest(files)
        path = folder / f"{digest[:16]}.{kind.name}"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, files, vocabulary, kind)
        if not path.stat().st_size:
            raise UserError("The training text has 0 tokens; crawl more articles.")
        return cls(np.memmap(path, kind, mode="r"), digest)

    def __len__(self) -> int:
        return len(self.tokens)


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(b"%d\0" % path.stat().st_size)
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _write(path: Path, files: Iterable[Path], vocabulary: int, kind: np.dtype[np.unsignedinteger]) -> None:
    """Write the stream atomically: an existing file is complete."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as out:
            for source in files:
                for record in tfrecords.read_records(source):
                    window = np.asarray(tfrecords.int_feature(record, "tokens"), np.int64)
                    if window.size and not 0 <= window.min() <= window.max() < vocabulary:
                        wrong = window[(window < 0) | (window >= vocabulary)][0]
                        raise TextmillError(
                            f"{source} has token {wrong}, but the vocabulary has only {vocabulary} tokens."
                        )
                    out.write(window.astype(kind).tobytes())
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Batches:
    """The batches of a training, with random access to any step.

    Each epoch splits the stream into windows from a random offset and reads each once, in random order. The next
    epoch draws both again, so a text's position in the window changes.
    """

    def __init__(self, stream: TokenStream, batch: int, window: int, seed: int) -> None:
        """Batches of shape (batch, window).

        Raises:
            UserError: the stream is shorter than one window and its next token.
        """
        if len(stream) <= window:
            raise UserError(
                f"The training text has {len(stream):,} tokens, too few for a window of {window}; "
                "crawl more articles or make model.window smaller."
            )
        self._tokens = stream.tokens
        self._batch = batch
        self._window = window
        self._seed = seed
        # one window less than would fit, where there are several, leaves room for every offset
        self.windows = max(1, (len(stream) - window) // window)  # in each epoch
        self._epoch = -1
        self._starts: NDArray[np.int64] = np.empty(0, np.int64)

    def at(self, step: int) -> tuple[Tokens, Tokens]:
        """Inputs and targets of a step, counted from 0. Targets are the inputs' next tokens."""
        first = step * self._batch
        starts = [self._start(*divmod(number, self.windows)) for number in range(first, first + self._batch)]
        rows = np.stack([self._tokens[start : start + self._window + 1] for start in starts]).astype(np.int32)
        return rows[:, :-1], rows[:, 1:]

    def _start(self, epoch: int, number: int) -> int:
        if epoch != self._epoch:
            self._epoch, self._starts = epoch, self._plan(epoch)
        return int(self._starts[number])

    def _plan(self, epoch: int) -> NDArray[np.int64]:
        """The start of each window of an epoch, in reading order, shape (windows,)."""
        generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        room = len(self._tokens) - self.windows * self._window
        offset = generator.integers(min(self._window, room))
        return offset + self._window * generator.permutation(self.windows)


def held_out_batches(
    stream: TokenStream, batch: int, window: int, at_most: int
) -> Iterator[tuple[Tokens, Tokens, NDArray[np.float32]]]:
    """Batches of inputs, targets and weights, each (batch, window), over the held-out text.

    Weights are 1 for targets and 0 for padding of the last window or batch. If there are more than `at_most`
    batches, that many are read, spread evenly.

    Raises:
        UserError: the stream has fewer than 2 tokens.
    """
    if len(stream) < 2:
        raise UserError(
            "The held-out text has fewer than 2 tokens; crawl more articles or raise corpus.validation_percent."
        )
    batches = -(-(len(stream) - 1) // (batch * window))
    for number in range(min(batches, at_most)):
        start = number * batches // min(batches, at_most) * batch * window
        tokens = stream.tokens[start : start + batch * window + 1].astype(np.int32)
        missing = batch * window + 1 - len(tokens)
        padded = np.pad(tokens, (0, missing))
        weights = np.pad(np.ones(len(tokens) - 1, np.float32), (0, missing))
        yield padded[:-1].reshape(batch, window), padded[1:].reshape(batch, window), weights.reshape(batch, window)
