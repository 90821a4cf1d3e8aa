"""Does a text repeat one that the model learned from, word for word? What to do then is the operator's choice.

`warn` names the passages and their sources. `refuse` ends the text before the first passage. `regenerate` throws the
text away and writes another, up to three times, then refuses. A text that may yet be refused is handed on with so many
words held back that no copied passage is ever sent in part.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from serving.interface.schemas import CopiedPassage
from serving.interface.types import Served
from textmill.gpt2.verbatim.index import PASSAGE, Verbatim
from textmill.ground.words import count, end_of_word, has_unspaced

Policy = Literal["ignore", "warn", "regenerate", "refuse"]
ATTEMPTS = 3  # texts begun for one answer under `regenerate`
_LOOK_EVERY = 8  # words of growth; a look takes up to a millisecond
_REMEMBERED = 8  # indexes kept open: a few versions, and those before a swap


@dataclass(frozen=True, slots=True)
class Guard:
    """One model's guard."""

    policy: Policy
    words: int  # in a row that count as copied
    index: Verbatim | None  # None where the bundle has none

    @property
    def withholds(self) -> bool:
        """Whether text may be refused after it was written."""
        return self.index is not None and self.policy in ("regenerate", "refuse")

    def for_one_attempt(self) -> "Guard":
        """The same guard, which refuses where it would have the text written again."""
        return replace(self, policy="refuse") if self.policy == "regenerate" else self

    @property
    def attempts(self) -> int:
        """Texts that may be begun for one answer."""
        return ATTEMPTS if self.withholds and self.policy == "regenerate" else 1

    def passages(self, text: str) -> list[CopiedPassage]:
        """The copied passages, in the order of the text."""
        if self.index is None or self.policy == "ignore":
            return []
        found = []
        for run in self.index.copied_text(text):
            passage = text[run.start : run.stop]
            words = count(passage)
            if words >= self.words:
                start, stop = run.stop - len(passage.lstrip()), run.start + len(passage.rstrip())
                found.append(CopiedPassage(words=words, url=run.url, start=start, stop=stop))
        return found

    def unsettled(self, text: str) -> int:
        """Where the last tokens begin that may be the start of a passage too short to be found yet.

        A token of a script without spaces may hold several words, so words alone do not tell.
        """
        if self.index is None or not has_unspaced(text):
            return len(text)
        return self.index.last_tokens(text, PASSAGE)


class Guards:
    """The guards of the models that answer, each with its index open."""

    def __init__(self, policy: Policy, words: int) -> None:
        self.policy: Policy = policy
        self.words = words
        self._indexes: OrderedDict[Path, Verbatim | None] = OrderedDict()

    def of(self, served: Served) -> Guard:
        """The guard of one model. The first time it opens files, so call it in a thread."""
        if served.directory is None or self.policy == "ignore":
            return Guard(self.policy, self.words, None)
        if served.directory not in self._indexes:
            self._indexes[served.directory] = Verbatim.open(served.directory)
            while len(self._indexes) > _REMEMBERED:
                self._indexes.popitem(last=False)
        return Guard(self.policy, self.words, self._indexes[served.directory])


class Withheld:
    """A growing text, handed on with its last words held back until they are known not to be copied."""

    def __init__(self, guard: Guard) -> None:
        self.passages: list[CopiedPassage] = []  # found; the text ends before the first
        self._guard = guard
        # the index sees no passage shorter than PASSAGE tokens, and a token is mostly a word at most; see `unsettled`
        self._held_words = max(guard.words, PASSAGE)
        self._held = ""
        self._looked_at = 0  # words held when the index was last asked

    def is_due(self, text: str) -> bool:
        """Whether the index is asked when this much more of the text comes."""
        return not self.passages and count(self._held + text) >= self._looked_at + _LOOK_EVERY

    def push(self, text: str) -> str:
        """Take more of the text; returns what may be handed on, perhaps nothing."""
        due = self.is_due(text)
        self._held += text
        if not due:
            return ""
        words = count(self._held)
        released = self._look()
        if self.passages:
            return released
        self._looked_at = words
        # a passage that has begun has fewer words than are held back, so its beginning is still here
        return self._release(words - self._held_words)

    def close(self) -> str:
        """The rest, at the text's end."""
        if self.passages:
            return ""
        released = self._look()
        rest, self._held = self._held, ""
        return released if self.passages else rest

    def _look(self) -> str:
        """Ask the index; where it finds a passage, the text before it is returned and the rest forgotten."""
        found = self._guard.passages(self._held)
        if not found:
            return ""
        self.passages = [_left_out(passage) for passage in found]
        start = found[0].start or 0
        if has_unspaced(self._held[:start][-1:]):
            start -= 1  # a token that spans the passage's border holds this character as well
        released = self._held[:start]
        self._held = ""
        return released

    def _release(self, words: int) -> str:
        if words <= 0:
            return ""
        end = min(end_of_word(self._held, words), self._guard.unsettled(self._held))
        released, self._held = self._held[:end], self._held[end:]
        self._looked_at = count(self._held)
        return released


def _left_out(passage: CopiedPassage) -> CopiedPassage:
    """The passage without its place: it is left out of the text."""
    return passage.model_copy(update={"start": None, "stop": None})
