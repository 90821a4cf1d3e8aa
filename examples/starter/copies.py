"""Copies: pieces that repeat earlier ones, and passages of texts that must not be in a pool."""

import re
from collections.abc import Iterable
from hashlib import blake2b

_WORDS = 8  # in a row: long enough that two texts rarely share them by chance
_ONE_IN = 4  # runs are kept; a quarter is enough to know a copy and takes a quarter of the memory
_SHARE = 0.4  # of a piece's runs: with more seen before, it is a copy


def runs(text: str, length: int) -> list[int]:
    """Hashes of each run of so many words, whatever the case and the signs between them."""
    words = re.findall(r"\w+", text.lower())
    return [_hash(" ".join(words[place : place + length])) for place in range(len(words) - length + 1)]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class Seen:
    """What earlier pieces said."""

    def __init__(self) -> None:
        self._held: set[int] = set()

    def holds(self, text: str) -> bool:
        """Whether much of a text was seen before; what was not is remembered."""
        found = {each for each in runs(text, _WORDS) if each % _ONE_IN == 0}
        if len(found & self._held) > _SHARE * max(len(found), 1):
            return True
        self._held |= found
        return False


class Passages:
    """Runs of words of texts that are kept apart from a pool."""

    def __init__(self, texts: Iterable[str], length: int) -> None:
        self._length = length
        self._held = {each for text in texts for each in runs(text, length)}

    def __len__(self) -> int:
        return len(self._held)

    def found_in(self, text: str) -> bool:
        return not self._held.isdisjoint(runs(text, self._length))
