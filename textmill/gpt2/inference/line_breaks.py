"""No longer run of line breaks than the training text has.

A small model that splits an empty line into equal tokens cannot count them, and writes runs of empty lines. So the bundle
says how long a run may be, and tokens that would make a longer one are not drawn. A run is the line breaks with nothing
but white space between them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.tokenizer import Tokenizer

_RUN = re.compile(r"\n\s*")  # begins with no blanks: a long line of them would take quadratic time
_BLANK = frozenset(" \t\r\n\u0120\u010a\u0109\u010d")  # white space, and GPT-2's characters for such bytes
_SHARE = 0.999  # of the training text's runs that are no longer
_SEQUENCES = 1000  # of an engine that is told which to leave out


class Runs:
    """The runs of line breaks in texts that stream by."""

    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()

    def add(self, text: str) -> None:
        """Count those of a text."""
        self._lengths.update(run.count("\n") for run in _RUN.findall(text))

    @property
    def longest(self) -> int:
        """The length that 999 in 1,000 runs do not exceed; 1 where there are none."""
        wanted, seen = _SHARE * self._lengths.total(), 0
        for length, count in sorted(self._lengths.items()):
            seen += count
            if seen >= wanted:
                return length
        return 1


class LineBreaks:
    """What each token of a vocabulary adds to a run of line breaks."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._forbidden: dict[tuple[int, int], NDArray[np.intp]] = {}

    def after(self, run: int, token: int) -> int:
        """The length of the run at the end of a text that had one of `run` and got a token."""
        if token not in self._tokens:
            return 0
        lead, _, trail, blank = self._tokens[token]
        return run + lead if blank else trail

    def at_end(self, tokens: Iterable[int]) -> int:
        """The length of the run at the end of some tokens."""
        run = 0
        for token in tokens:
            run = self.after(run, token)
        return run

    def forbidden(self, run: int, most: int) -> NDArray[np.intp]:
        """The tokens that would make a run of more than `most`, after one of `run`; none where `most` is 0."""
        if (run, most) not in self._forbidden:
            found = [
                token
                for token, (lead, inside, _, _) in self._tokens.items()
                if most and ((lead and run + lead > most) or inside > most)
            ]
            self._forbidden[run, most] = np.array(found, np.intp)
        return self._forbidden[run, most]

    def sequences(self, most: int) -> list[list[int]]:
        """The shortest sequences of nothing but line breaks that make a run of more than `most`."""
        lengths = {token: lead for token, (lead, _, _, blank) in self._tokens.items() if blank and lead}

        def longer(begun: list[int], run: int) -> Iterator[list[int]]:
            for token, length in lengths.items():
                if run + length > most:
                    yield [*begun, token]
                else:
                    yield from longer([*begun, token], run + length)

        return [sequence for sequence, _ in zip(longer([], 0), range(_SEQUENCES), strict=False)] if most else []

    @cached_property
    def _tokens(self) -> dict[int, tuple[int, int, int, bool]]:
        """Of each token with a line break, or of nothing but white space: its line breaks at the start, its longest run,
        those at the end, and whether it is nothing but white space."""
        found = {}
        for token in range(self._tokenizer.vocabulary):
            symbol = self._tokenizer.symbol(token) or ""
            if token == self._tokenizer.end or not symbol:
                continue
            if "\n" in symbol or "\u010a" in symbol or _BLANK.issuperset(symbol):
                text = self._tokenizer.decode([token])
                body = text.strip()
                runs = [run.count("\n") for run in _RUN.findall(text)]
                lead = (text[: text.index(body)] if body else text).count("\n")
                trail = text[text.index(body) + len(body) :].count("\n") if body else lead
                found[token] = (lead, max(runs, default=0), trail, not body)
        return found
