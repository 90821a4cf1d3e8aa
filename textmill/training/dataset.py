"""Token windows for training: one long stream of tokens on disk, and the batches of every step as a function of it.

Which tokens a step reads follows from the stream, the seed and the step's number alone, so a training that is resumed
has no position to restore.
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
    """All tokens of a split, one after another, mapped from a file and read as they are needed."""

    tokens: NDArray[np.unsignedinteger]  # shape (tokens,)
    digest: str  # of the window files it was made from, 64 hex digits

    @classmethod
    def pack(cls, files: Sequence[Path], vocabulary: int, folder: Path) -> "TokenStream":
        """Join files of windows, in the order given, into one file in `folder`; a former one of the same digest is used.

        Args:
            files: TFRecords of tf.Example with an int64 feature `tokens`.
            vocabulary: every token is less than this.

        Raises:
            UserError: there is no token at all.
            TextmillError: a file is damaged or holds a token that the vocabulary lacks.
        """
        kind = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
        digest = _digest(files)
        path = folder / f"{digest[:16]}.{kind.name}"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, files, vocabulary, kind)
        if not path.stat().st_size:
            raise UserError("The training text is empty; crawl more articles.")
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
    """Write the stream beside its place and rename it: a file that is there is whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as out:
            for source in files:
                for record in tfrecords.read_records(source):
                    window = np.asarray(tfrecords.int_feature(record, "tokens"), np.int64)
                    if window.size and not 0 <= window.min() <= window.max() < vocabulary:
                        wrong = window[(window < 0) | (window >= vocabulary)][0]
                        raise TextmillError(f"{source} has token {wrong} where the vocabulary ends at {vocabulary}.")
                    out.write(window.astype(kind).tobytes())
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Batches:
    """The batches of a training: any step's inputs and targets, without those before it.

    An epoch cuts the stream into windows from a random offset and reads them in a random order, each once; the
    next epoch draws both anew, so that no position of a text keeps its place in the window.
    """

    def __init__(self, stream: TokenStream, batch: int, window: int, seed: int) -> None:
        """Batches of shape (batch, window).

        Raises:
            UserError: the stream does not fill one window and the token after it.
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
        """Inputs and targets of a step, counted from 0; targets are the tokens that follow the inputs'."""
        first = step * self._batch
        starts = [self._start(*divmod(number, self.windows)) for number in range(first, first + self._batch)]
        rows = np.stack([self._tokens[start : start + self._window + 1] for start in starts]).astype(np.int32)
        return rows[:, :-1], rows[:, 1:]

    def _start(self, epoch: int, number: int) -> int:
        if epoch != self._epoch:
            self._epoch, self._starts = epoch, self._plan(epoch)
        return int(self._starts[number])

    def _plan(self, epoch: int) -> NDArray[np.int64]:
        """Where each of an epoch's windows starts, in the order in which they are read, shape (windows,)."""
        generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        room = len(self._tokens) - self.windows * self._window
        offset = generator.integers(min(self._window, room))
        return offset + self._window * generator.permutation(self.windows)


def held_out_batches(
    stream: TokenStream, batch: int, window: int, at_most: int
) -> Iterator[tuple[Tokens, Tokens, NDArray[np.float32]]]:
    """Inputs, targets and weights, each (batch, window), over consecutive windows of held-out text.

    Weights are 1 where there is a target and 0 where the last window or the last batch is filled up. Of a stream
    with more than `at_most` batches, that many are read, spread evenly over it.

    Raises:
        UserError: the stream has no two tokens.
    """
    if len(stream) < 2:
        raise UserError("The held-out text is empty; crawl more articles or make corpus.validation_percent larger.")
    batches = -(-(len(stream) - 1) // (batch * window))
    for number in range(min(batches, at_most)):
        start = number * batches // min(batches, at_most) * batch * window
        tokens = stream.tokens[start : start + batch * window + 1].astype(np.int32)
        missing = batch * window + 1 - len(tokens)
        padded = np.pad(tokens, (0, missing))
        weights = np.pad(np.ones(len(tokens) - 1, np.float32), (0, missing))
        yield padded[:-1].reshape(batch, window), padded[1:].reshape(batch, window), weights.reshape(batch, window)
