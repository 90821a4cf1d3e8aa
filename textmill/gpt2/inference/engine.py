"""Texts written by one model, many at once: requests come from any thread, one thread of the engine's own writes them.

Each text under way has a row. Every turn of the loop lets waiting requests into free rows, reads one piece of one
prompt that is not read yet, and adds a token to every text whose prompt is. So a text joins at the next token and
leaves at its end, and a long prompt does not stall the others. Each text draws from a random generator of its own, and
a row's figures depend on no other row: a seed gives the same text whoever else is served.

A text that outgrows the window goes on from the last half of it, which is then read again.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from textmill.gpt2.document import document, topic_prompt, whole_sentences
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.generation import Chunk, Finish, Generation
from textmill.gpt2.inference.line_breaks import LineBreaks
from textmill.gpt2.inference.logit_options import LogitOptions
from textmill.gpt2.inference.logprobs import TokenNames, score
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import Tokenizer
from textmill.ground.errors import TextmillError, UserError
from textmill.ground.words import count

_log = logging.getLogger(__name__)
DRAWS = 3  # of a text that comes out empty or too short
NEXT_SEED = 0x1E3779B9  # large, so that the seeds of a text and of its neighbours differ
_PIECE = 128  # tokens of a prompt read between two steps of the others; 0.1 s of two cores with 124M in int8


class QueueFull(TextmillError):
    """As many requests wait as may wait."""


class Engine:
    """The loop over one bundle. Close it, or use it as a context manager."""

    exact = True  # a seed decides a text

    def __init__(
        self,
        directory: Path,
        slots: int = 8,
        threads: int = 0,
        waiting: int = 64,
        precision: str = "auto",
        device: str = "cpu",
    ) -> None:
        """Load a bundle, which should have been verified, and begin to wait for requests.

        Args:
            slots: texts written at the same time.
            threads: CPU threads; 0 takes all cores this process may use, or one for a small model.
            waiting: requests that may wait for a slot.
            precision: of the weights, as `Session` takes it.
            device: as `Session` takes it.

        Raises:
            UserError: the bundle has no graph of this precision, ONNX Runtime refuses it, or cannot use the device.
        """
        self.tokenizer = Tokenizer.load(directory / bundle.TOKENIZER)
        self.defaults = bundle.read_json(directory, bundle.GENERATION)
        self._names = TokenNames(self.tokenizer)
        self._breaks = LineBreaks(self.tokenizer)
        self._session = Session(directory, slots, threads, precision, device)
        self._limit = waiting
        self._rows: list[Generation] = []  # one for each of the session's first rows
        self._queue: deque[Generation] = deque()
        self._wake = threading.Condition()  # guards the queue and the two below
        self._closed = False
        self.failure: BaseException | None = None  # what ended the loop, if it was not `close`
        self._thread = threading.Thread(target=self._loop, name="textmill-engine", daemon=True)
        self._thread.start()

    @property
    def window(self) -> int:
        """Tokens the model sees at once."""
        return self._session.architecture.window

    @property
    def running(self) -> int:
        """Texts under way."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._queue)

    @property
    def room(self) -> int:
        """Tokens of a prompt that are read at most: one of the window's places is for the first token written."""
        return self.window - 1

    def check(self) -> None:
        """See that the model works; only before the first request, while the engine's thread waits.

        Raises:
            UserError: it scores a token with what is no number.
        """
        scores = self._session.forward(0, [self.tokenizer.end], 0, [0])
        if not np.isfinite(scores).all():
            raise UserError("The model's scores are not finite numbers; do not serve it, train it again.")

    def submit(
        self,
        prompt: Sequence[int],
        settings: Settings,
        deliver: Callable[[Chunk], None],
        logprobs: int | None = None,
    ) -> Generation:
        """Ask for a text.

        Args:
            prompt: tokens, at least one; of more than `room`, only the last are read.
            deliver: called for each chunk, from the engine's thread; it must not wait. The last chunk has a finish.
            logprobs: how many of the likeliest tokens the chunks name in each token's place; None: chunks have no scores.

        Raises:
            QueueFull: as many requests wait as may.
            TextmillError: the prompt is empty, or the engine has ended.
        """
        if not prompt:
            raise TextmillError("A prompt needs at least one token.")
        scored = None if logprobs is None else partial(score, count=logprobs, name=self._names)
        generation = Generation(
            list(prompt[-self.room :]),
            settings,
            self.tokenizer.decode,
            deliver,
            scored,
            self._breaks,
            LogitOptions.of(settings, self.tokenizer.end),
        )
        with self._wake:
            if self._closed:
                raise TextmillError("The engine has ended and takes no more requests.")
            if sum(not each.cancelled.is_set() for each in self._queue) >= self._limit:
                raise QueueFull(f"{self._limit} requests are waiting already; try again in a moment.")
            self._queue.append(generation)
            self._wake.notify()
        return generation

    def close(self) -> None:
        """End the loop; texts under way and waiting are cancelled."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _loop(self) -> None:
        finish: Finish = "cancelled"
        try:
            while self._wait():
                self._drop_cancelled()
                self._admit()
                self._read_piece()
                self._step()
        except Exception as error:  # nobody else would hear of it: this thread has no caller
            _log.exception("The engine has failed.")
            self.failure, finish = error, "failed"
        with self._wake:
            left = [*self._rows, *self._queue]
            self._closed = True
            self._rows.clear()
            self._queue.clear()
        for generation in left:
            generation.finish(finish)

    def _wait(self) -> bool:
        """Wait until there is something to do; false when the engine is to end."""
        with self._wake:
            self._wake.wait_for(lambda: self._closed or self._rows or self._queue)
            return not self._closed

    def _drop_cancelled(self) -> None:
        with self._wake:
            waiting = [each for each in self._queue if each.cancelled.is_set()]
            for generation in waiting:
                self._queue.remove(generation)
        running = [each for each in self._rows if each.cancelled.is_set()]
        for generation in running:
            self._leave(generation)
        for generation in waiting + running:
            generation.finish("cancelled")

    def _admit(self) -> None:
        with self._wake:
            while self._queue and len(self._rows) < self._session.slots:
                self._rows.append(self._queue.popleft())

    def _leave(self, generation: Generation) -> None:
        """Free a row; the last row's text moves into it, so that a step covers no empty rows."""
        row, last = self._rows.index(generation), self._rows.pop()
        if last is not generation:
            self._session.copy_row(len(self._rows), row, last.read)
            self._rows[row] = last

    def _read_piece(self) -> None:
        """Read a piece of the first prompt of which more than the last token is unread."""
        generation = next((each for each in self._rows if each.unread > 1), None)
        if generation is None:
            return
        piece = generation.context[generation.read :][:_PIECE]
        whole = len(piece) == generation.unread
        wanted = [len(piece) - 1] if whole else []
        logits = self._session.forward(self._rows.index(generation), piece, generation.read, wanted)
        generation.read += len(piece)
        if whole and generation.advance(logits[0], self.window, self.tokenizer.end):
            self._leave(generation)

    def _step(self) -> None:
        """Add a token to every text whose context is read but for its last token."""
        ready = [(row, each) for row, each in enumerate(self._rows) if each.unread == 1]
        if not ready:
            return
        # the other rows take part too: what is written for them here stands past what they hold, and is overwritten
        tokens = [each.context[-1] if each.unread == 1 else 0 for each in self._rows]
        logits = self._session.step(tokens, [each.read for each in self._rows])
        for _, generation in ready:
            generation.read += 1  # all of them before any leaves: a row that moves must move whole
        for row, generation in ready:
            if generation.advance(logits[row], self.window, self.tokenizer.end):
                self._leave(generation)


@dataclass(frozen=True, slots=True)
class Text:
    """A finished text."""

    text: str
    tokens: int
    finish: Finish


def generate(engine: Engine, prompt: Sequence[int], settings: Settings) -> Text:
    """Write one text and wait for it.

    Raises:
        TextmillError: the engine ended before the text did.
    """
    chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
    engine.submit(prompt, settings, chunks.put)
    parts: list[str] = []
    while True:
        chunk = chunks.get()
        parts.append(chunk.text)
        if chunk.finish in ("cancelled", "failed"):
            raise TextmillError(f"The engine ended before the text did ({engine.failure or 'closed'}).")
        if chunk.finish:
            return Text("".join(parts), chunk.tokens, chunk.finish)


def write(engine: Engine, topic: str, **settings: Any) -> str:
    """Write one article and return it under its title; `settings` are fields of `Settings`.

    A text that is empty, or ends by itself with fewer than `fewest_words`, is drawn again with another seed; of the draws the
    longest counts. A text that ran out of tokens ends with its last whole sentence.
    """
    topic = " ".join(topic.split())
    how = Settings.of(engine.defaults, settings)
    drawn: list[Text] = []
    while len(drawn) < DRAWS and not (drawn and how.takes(drawn[-1].text, drawn[-1].finish)):
        seed = how.seed + len(drawn) * NEXT_SEED
        drawn.append(generate(engine, topic_prompt(engine.tokenizer, topic), replace(how, seed=seed)))
    text = max(drawn, key=lambda each: count(each.text))
    return document(topic, whole_sentences(text.text) if text.finish == "length" else text.text)
