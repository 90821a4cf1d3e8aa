"""One text on its way from a prompt to its end."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.inference.line_breaks import LineBreaks
from textmill.gpt2.inference.logit_options import LogitOptions
from textmill.gpt2.inference.logprobs import Scored
from textmill.gpt2.inference.sampling import Settings, choose
from textmill.gpt2.inference.text_stream import TextStream

_log = logging.getLogger(__name__)

Finish = Literal["end", "stop", "length", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a text grew by."""

    text: str
    tokens: int  # written so far, the end token among them
    finish: Finish | None = None  # set on the last chunk
    scores: tuple[Scored, ...] = ()  # of the tokens since the chunk before, where they were asked for


class Text:
    """One text under way. Whoever asked for it may `cancel`; the rest belongs to the engine."""

    def __init__(
        self,
        prompt: list[int],
        settings: Settings,
        decode: Callable[[list[int]], str],
        deliver: Callable[[Chunk], None],
    ) -> None:
        self.cancelled = threading.Event()
        self.context = prompt  # the tokens before the model, the newest last
        self.written = 0  # tokens
        self.ended = False
        self._settings = settings
        self._deliver = deliver
        self._stream = TextStream(decode, settings.stop)

    def cancel(self) -> None:
        """Stop before the next token; from any thread."""
        self.cancelled.set()

    def take(self, token: int, end: int) -> bool:
        """Take the next token and hand on the text it makes; true if the text has ended with it."""
        self.written += 1
        if token == end:
            self.finish("end")
            return True
        text = self._stream.push(token)
        if self._stream.stopped or self.written == self._settings.max_tokens:
            self.finish("length", text)
            return True
        self.context.append(token)
        if text:
            self._tell(text)
        return False

    def finish(self, finish: Finish, text: str = "") -> None:
        """Hand on the last chunk, unless that is done: this text and what was held back."""
        if not self.ended:
            self.ended = True
            text += self._stream.close()
            self._tell(text, "stop" if self._stream.stopped else finish)

    def _tell(self, text: str, finish: Finish | None = None) -> None:
        try:
            self._deliver(Chunk(text, self.written, finish, self._scores_so_far()))
        except Exception:  # whatever a listener does wrong, the other texts go on
            _log.exception("A listener failed; its text is cancelled.")
            self.cancel()

    def _scores_so_far(self) -> tuple[Scored, ...]:
        """Of the tokens since the chunk before."""
        return ()


class Generation(Text):
    """A text whose tokens are drawn here, by a random generator of its own."""

    def __init__(
        self,
        prompt: list[int],
        settings: Settings,
        decode: Callable[[list[int]], str],
        deliver: Callable[[Chunk], None],
        score: Callable[[NDArray[np.float32], int, int], Scored] | None = None,
        breaks: LineBreaks | None = None,
        options: LogitOptions | None = None,
    ) -> None:
        """Prepare.

        Args:
            score: is given the logits, the token drawn and the characters before it.
            options: what else the settings do to the logits.
            breaks: of the tokenizer; without them runs of line breaks are not limited.
        """
        super().__init__(prompt, settings, decode, deliver)
        self._breaks = breaks if settings.line_breaks else None
        self._run = self._breaks.at_end(prompt) if self._breaks else 0  # line breaks at the context's end
        self.read = 0  # how many tokens of the context the text's row holds
        self._generator = np.random.Generator(np.random.PCG64(settings.seed))
        self._recent = deque(prompt, settings.repetition_window or None)  # what the repetition penalty is on
        self._options = options
        self._score = score
        self._scores: list[Scored] = []  # not yet handed on

    @property
    def unread(self) -> int:
        """How many tokens of the context the row does not hold yet; never none while the text is under way."""
        return len(self.context) - self.read

    def advance(self, logits: NDArray[np.float32], window: int, end: int) -> bool:
        """Draw the next token and hand on the text it makes; true if the text has ended with it.

        Args:
            logits: what may follow the context, shape (vocabulary,).
            window: tokens the model sees at once; a longer context is cut to the last half of it and read again.
            end: the end token.
        """
        forbidden = self._breaks.forbidden(self._run, self._settings.line_breaks) if self._breaks else None
        scores = self._options.apply(logits) if self._options else logits
        token = choose(scores, self._lowered(end), self._settings, self._generator, forbidden)
        if self._score:
            self._scores.append(self._score(logits, token, self._stream.length))
        if self.take(token, end):
            return True
        self._recent.append(token)
        if self._options:
            self._options.take(token)
        if self._breaks:
            self._run = self._breaks.after(self._run, token)
        if len(self.context) > window:
            self.context, self.read = self.context[-(window // 2) :], 0
        return False

    def _lowered(self, end: int) -> Collection[int]:
        """The tokens whose scores the repetition penalty lowers, in order, so that equal requests see equal arrays."""
        if self._settings.repetition_penalty == 1:
            return ()
        # every prompt begins with the end token, which must not make an end unlikely
        return dict.fromkeys(token for token in self._recent if token != end)

    def _scores_so_far(self) -> tuple[Scored, ...]:
        scores, self._scores = tuple(self._scores), []
        return scores
