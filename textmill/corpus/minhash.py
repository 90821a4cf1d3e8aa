"""MinHash signatures of five-word shingles (Broder 1997, by `datasketch`), cached by content."""

import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from textmill.corpus.content_cache import ContentCache

HASHES = 128  # in a signature; the similarity they estimate is off by 0.04 (one standard deviation) at 0.8
_VERSION = 1  # raised whenever `signature` gives other numbers for a text than before
_SHINGLE = 5  # words
_CHARACTERS_AT_ONCE = 1 << 16  # bounds the memory of signing one long text: about 10 MB
# CJK characters count as words of their own, since no spaces part them
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_SPACE = re.compile(r"\s")


def way() -> str:
    """The cache key of signatures: everything besides the text that they depend on."""
    return f"signatures\0{_VERSION} {version('datasketch')} {unicodedata.unidata_version}"


def signatures(texts: Mapping[str, str], kept: ContentCache | None) -> dict[str, NDArray[np.uint32]]:
    """The signatures of texts, by content hash (hex digits). Missing ones are computed and cached."""
    found = {content: np.frombuffer(each, "<u4") for content, each in kept.get(texts).items()} if kept else {}
    new = {content: signature(text) for content, text in texts.items() if content not in found}
    if kept:
        kept.put({content: each.astype("<u4").tobytes() for content, each in new.items()})
    return found | new


def signature(text: str) -> NDArray[np.uint32]:
    """The signature of a text's shingles, shape (128,). Without words, all values are the maximum."""
    from datasketch import MinHash  # not earlier: SciPy comes with it, and that takes half a second

    minhash = MinHash(HASHES, hashfunc=int, permutations=_permutations(), scheme="affine32")
    for words in _word_hashes(text):
        shingles = np.zeros(max(1, len(words) - _SHINGLE + 1), np.uint32)
        for place in range(min(_SHINGLE, len(words))):  # a text of fewer words is one shingle
            shingles = (shingles ^ words[place : place + len(shingles)]) * np.uint32(0x01000193)
            shingles ^= shingles >> np.uint32(15)
        minhash.update_batch(shingles.tolist())
    hashes: NDArray[np.uint32] = minhash.hashvalues
    return hashes


@cache
def _permutations() -> NDArray[np.uint32]:
    from datasketch import MinHash

    drawn: NDArray[np.uint32] = MinHash(HASHES, seed=1, scheme="affine32").permutations
    return drawn


def _word_hashes(text: str) -> Iterator[NDArray[np.uint32]]:
    """Hashes of a text's words, in parts that overlap by one shingle less a word."""
    rest: list[int] = []  # the last words of the part before: the first ones of shingles that reach into the next
    for part in _parts(text):
        hashes = rest + [zlib.crc32(word) for word in map(str.encode, _WORD.findall(part.lower()))]
        if len(hashes) > len(rest):
            yield np.array(hashes, np.uint32)
        rest = hashes[1 - _SHINGLE :]


def _parts(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > 2 * _CHARACTERS_AT_ONCE and (space := _SPACE.search(text, start + _CHARACTERS_AT_ONCE)):
        yield text[start : space.start()]
        start = space.end()
    yield text[start:]
