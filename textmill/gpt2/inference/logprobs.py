"""How likely a model held what it wrote: `logprobs`, as OpenAI's completions report them.

They are of the model's own distribution, before repetition penalty, temperature, top_k and top_p. Every token that was
written has one, those of a stop string and the end token too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.byte_pairs import byte_of_symbol
from textmill.gpt2.tokenizer import END, Tokenizer

MOST = 20  # likeliest tokens of one place, at most
_DIGITS = 6  # after the point; float32 has no more
_BROKEN = "\ufffd"


@dataclass(frozen=True, slots=True)
class Scored:
    """One token that was written."""

    token: str
    offset: int  # characters of the text before it
    logprob: float  # natural
    likeliest: dict[str, float]  # the likeliest tokens in its place, and itself, by falling probability


class TokenNames:
    """Tokens as clients read them: their text, or `bytes:\\xe2\\x80` where a token is no whole characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = byte_of_symbol()
        self._known: dict[int, str] = {tokenizer.end: END}

    def __call__(self, token: int) -> str:
        """One token's name; no two tokens share one, unless their texts are equal."""
        if token not in self._known:
            self._known[token] = self._name(token)
        return self._known[token]

    def _name(self, token: int) -> str:
        text = self._tokenizer.decode([token])
        symbol = self._tokenizer.symbol(token)
        if text and _BROKEN not in text:
            return text
        if symbol and all(character in self._bytes for character in symbol):
            return "bytes:" + "".join(f"\\x{self._bytes[character]:02x}" for character in symbol)
        return symbol or f"<|{token}|>"  # a row of the model that its tokenizer does not use


def score(logits: NDArray[np.float32], token: int, offset: int, count: int, name: Callable[[int], str]) -> Scored:
    """Report on a token drawn by these logits, shape (vocabulary,), beside the `count` likeliest."""
    exact = logits.astype(np.float64)
    exact -= exact.max()
    exact -= np.log(np.exp(exact).sum())
    count = min(count, len(exact))
    top = np.argpartition(exact, -count)[-count:] if count else np.zeros(0, np.intp)
    top = top[np.argsort(-exact[top], kind="stable")]
    likeliest: dict[str, float] = {}
    for each in (*top.tolist(), token):
        likeliest.setdefault(name(each), round(float(exact[each]), _DIGITS))
    return Scored(name(token), offset, round(float(exact[token]), _DIGITS), likeliest)


def as_openai(scored: Sequence[Scored]) -> dict[str, list[Any]]:
    """The `logprobs` of a choice (platform.openai.com/docs/api-reference/completions)."""
    return {
        "tokens": [each.token for each in scored],
        "token_logprobs": [each.logprob for each in scored],
        "top_logprobs": [each.likeliest for each in scored],
        "text_offset": [each.offset for each in scored],
    }
