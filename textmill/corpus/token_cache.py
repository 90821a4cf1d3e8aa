"""Cache of articles' tokens by content and tokenizer, so that a run tokenises only new ones."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from textmill.corpus.content_cache import ContentCache


class TokenCache:
    """The cached tokens of one tokenizer, in their own file."""

    def __init__(self, kept: ContentCache, vocabulary: int) -> None:
        self._kept = kept
        self._kind = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")

    def get(self, contents: Iterable[str]) -> dict[str, NDArray[np.uint32]]:
        """The cached tokens of these contents, by content hash (hex digits)."""
        found = self._kept.get(contents)
        return {content: np.frombuffer(each, self._kind).astype(np.uint32) for content, each in found.items()}

    def put(self, tokens: Mapping[str, NDArray[np.uint32]]) -> None:
        """Cache the tokens of these contents."""
        self._kept.put({content: each.astype(self._kind).tobytes() for content, each in tokens.items()})

    def close(self) -> None:
        """Close the file."""
        self._kept.close()


def way(tokenizer: str) -> str:
    """The cache key of tokens: the tokenizer's `tokenizer.json`."""
    return f"tokens\0{tokenizer}"
