"""Tokens become text as they come: never half a character, never a part of a stop string."""

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"  # what a decoder shows for bytes that are no character, or not yet one
_LONGEST_BEGINNING = 3  # bytes of a character in UTF-8 without its last, so tokens at most


class TextStream:
    """The text of one answer."""

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        """Begin an empty text; `stop` are strings before which it ends."""
        self.stopped = False
        self.length = 0  # characters that the tokens have made so far, those held back among them
        self._decode = decode
        self._stop = stop
        self._tokens: list[int] = []  # not yet text
        self._held = ""  # text that may turn out to begin a stop string

    def push(self, token: int) -> str:
        """Take the next token and return the text that is certain now, perhaps none."""
        self._tokens.append(token)
        whole = self._decode(self._tokens)
        if not whole.endswith(_UNFINISHED):
            self._tokens.clear()
            return self._release(whole)
        # hold the last few tokens back, but cut where that breaks no character
        for cut in range(max(0, len(self._tokens) - _LONGEST_BEGINNING), len(self._tokens)):
            text = self._decode(self._tokens[:cut])
            if text + self._decode(self._tokens[cut:]) == whole:
                self._tokens = self._tokens[cut:]
                return self._release(text)
        return ""

    def close(self) -> str:
        """The rest of the text; bytes that are only the beginning of a character are dropped."""
        text = self._decode(self._tokens) if self._tokens else ""
        self._tokens.clear()
        released = self._release(text.rstrip(_UNFINISHED))
        held, self._held = self._held, ""
        return released + held

    def _release(self, text: str) -> str:
        self.length += len(text)
        if self.stopped:
            return ""
        text = self._held + text
        found = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the text's end are the beginning of the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((count for count in range(longest, 0, -1) if text.endswith(stop[:count])), 0)
