"""Tokenizers: GPT-2's own BPE, a byte-level BPE trained on the corpus, or characters.

All three are one class over Hugging Face's `tokenizers`, stored in its format as `tokenizer.json`. The end token
`<|endoftext|>` separates documents. Text never encodes to it: these characters in a page are encoded as ordinary
text.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from textmill.gpt2 import byte_pairs
from textmill.gpt2.byte_pairs import BytePairs
from textmill.ground.errors import UserError
from textmill.ground.files import write_beside

END = "<|endoftext|>"
_UNKNOWN = "\ufffd"  # stands for a character that a characters tokenizer has not seen
FILE = "tokenizer.json"
_RUNS = r"\n+"  # of line ends
# how `tokenizer.json` writes that such a run is a piece
_BREAKS = {"type": "Split", "pattern": {"Regex": _RUNS}, "behavior": "Isolated", "invert": False}
PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))  # Hugging Face's names, OpenAI's


class Tokenizer:
    """A tokenizer with an end token."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        """Wrap a tokenizer whose special tokens include the end token."""
        # read text that looks like the end token as ordinary characters; the file does not keep this
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self.vocabulary: int = tokenizer.get_vocab_size()
        end = tokenizer.token_to_id(END)
        assert end is not None
        self.end: int = end
        self._fast: BytePairs | None = None
        self._asked = False  # whether there can be a fast one

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a `tokenizer.json`.

        Raises:
            UserError: the file is absent or damaged, or its tokenizer has no end token.
        """
        try:
            found = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path} does not exist; name a folder with a tokenizer.json.") from None
        except Exception as error:  # `tokenizers` raises nothing narrower
            raise UserError(f"{path} is not a tokenizer ({_first_line(error)}); create or fetch it again.") from error
        if found.token_to_id(END) is None:
            raise UserError(f"The tokenizer at {path} has no token {END}; use a GPT-2's tokenizer.")
        if not any(token.special and token.content == END for token in found.get_added_tokens_decoder().values()):
            found.add_special_tokens([END])
        # transformers keeps there how a batch was last cut and filled up
        found.no_truncation()
        found.no_padding()
        return cls(found)

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`. Equal tokenizers give equal bytes."""
        write_beside(path, self._tokenizer.to_str())

    def encode(self, text: str) -> list[int]:
        """Encode a text. The result never has the end token."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Encode a text, with each token's start and stop as character offsets."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.ids), list(encoding.offsets)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts: the tokens of `encode`, faster."""
        return [tokens.tolist() for tokens in self.encode_arrays(texts)]

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Encode several texts on all cores; each result has shape (tokens,)."""
        if fast := self._byte_pairs():
            return fast.encode(texts)
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encoded]

    def _byte_pairs(self) -> BytePairs | None:
        """The same tokenizer by tiktoken, if possible. Created on first use, because GPT-2's merges take 1 second."""
        if not self._asked:
            self._asked = True
            pairs = self.byte_pairs()
            ranks = byte_pairs.ranks(*pairs) if pairs and self._is_plain() else None
            with suppress(ImportError):  # a server has no tiktoken, and encodes one prompt at a time
                self._fast = BytePairs(ranks, self.breaks) if ranks else None
        return self._fast

    def _is_plain(self) -> bool:
        """Whether vocabulary and merges alone determine this byte-level BPE's tokens."""
        kinds = json.loads(self._tokenizer.to_str())
        odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]
        return added == [END] and not any(kinds["model"].get(name) for name in odd)

    def unknown_bytes(self, text: str) -> int:
        """The bytes in UTF-8 of the text's characters that have no token of their own; 0 with bytes as tokens."""
        name = getattr(self._tokenizer.model, "unk_token", None)
        if not name:
            return 0
        unknown = self._tokenizer.token_to_id(name)
        named = zip(*self.encode_with_spans(text), strict=True)
        stretches = (text[start:stop] for token, (start, stop) in named if token == unknown)
        return sum(len(stretch.encode()) for stretch in stretches if stretch != name)

    def decode(self, tokens: Sequence[int]) -> str:
        """Decode tokens, without end tokens. Bytes that are not UTF-8 become U+FFFD."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def symbol(self, token: int) -> str | None:
        """The token in the vocabulary's spelling (GPT-2's characters for bytes); None for an unknown number."""
        found = self._tokenizer.id_to_token(token)
        return None if found is None else str(found)

    @property
    def breaks(self) -> bool:
        """Whether a run of line breaks is a separate piece, as in tokenizers trained by Textmill."""
        return bool(_parts(json.loads(self._tokenizer.to_str()))[:-1] == [_BREAKS])

    @property
    def is_gpt2s(self) -> bool:
        """Whether GPT-2's pattern, vocabulary and merges fully define this tokenizer."""
        return not self.breaks and self.byte_pairs() is not None

    def byte_pairs(self) -> tuple[dict[str, int], list[tuple[str, str]]] | None:
        """Vocabulary and merges in the form of GPT-2's two files; None if this is not a byte-level BPE.

        The files do not record `breaks`.
        """
        kinds = json.loads(self._tokenizer.to_str())
        model, (*before, split) = kinds["model"], _parts(kinds)
        plain = not kinds["normalizer"] and not split.get("add_prefix_space") and split.get("use_regex", True)
        if model["type"] != "BPE" or split.get("type") != "ByteLevel" or not plain or before not in ([], [_BREAKS]):
            return None
        symbols = sorted(self._tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
        return dict(symbols), [(first, second) for first, second in pairs]


def train_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE (Radford et al. 2019, section 2.2) with GPT-2's word pattern.

    A run of line breaks is one piece and can become one token. GPT-2's pattern splits two line breaks before a word
    into two equal tokens, which a small model often miscounts.

    The same texts in any order give the same tokenizer. A small corpus can give fewer tokens than `vocabulary`, but at
    least 257: all bytes and the end token.
    """
    tokenizer = _byte_level(models.BPE(), breaks=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Tokenizer(tokenizer)


def characters(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer with one token per character of the texts. Other characters become U+FFFD."""
    found: set[str] = {_UNKNOWN}
    for text in texts:
        found.update(text)
    vocabulary = {token: number for number, token in enumerate([END, *sorted(found)])}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([END])
    return Tokenizer(tokenizer)


def gpt2(directory: Path) -> Tokenizer:
    """Read GPT-2's tokenizer from its two files, with Hugging Face's names or OpenAI's.

    Raises:
        UserError: the files are absent or damaged, or have no end token.
    """
    present = [names for names in PAIRS if all((directory / name).is_file() for name in names)]
    if not present:
        names = " nor ".join(" and ".join(pair) for pair in PAIRS)
        raise UserError(f"{directory} has neither {names}; name the folder of a GPT-2.")
    vocabulary, merges = (directory / name for name in present[0])
    try:
        model = models.BPE.from_file(str(vocabulary), str(merges))
    except Exception as error:  # `tokenizers` raises nothing narrower
        raise UserError(
            f"{vocabulary} and {merges.name} are not a valid BPE ({_first_line(error)}); fetch both again."
        ) from error
    if model.token_to_id(END) is None:
        raise UserError(f"{vocabulary} has no token {END}; use the files of a GPT-2.")
    tokenizer = _byte_level(model)
    tokenizer.add_special_tokens([END])
    return Tokenizer(tokenizer)


def of_directory(directory: Path) -> Tokenizer | None:
    """Read the tokenizer in a model's folder, in any form that `load` or `gpt2` reads; None if there is none.

    Raises:
        UserError: its files are damaged, or have no end token.
    """
    if (directory / FILE).is_file():
        return Tokenizer.load(directory / FILE)
    if any((directory / name).is_file() for pair in PAIRS for name in pair):
        return gpt2(directory)
    return None


def choose(kind: str, vocabulary: int, base: Path | None, texts: Iterable[str]) -> Tokenizer:
    """Create the configured tokenizer.

    Args:
        kind: `bpe`, `characters`, or `base` (the base model's).
        vocabulary: number of tokens of a BPE trained on the texts.
        base: the base model's folder; None for training from scratch.

    Raises:
        UserError: kind is `base`, but there is no base or it has no tokenizer.
    """
    if kind == "bpe":
        return train_bpe(texts, vocabulary)
    if kind == "characters":
        return characters(texts)
    found = of_directory(base) if base else None
    if found is None:
        raise UserError(
            f"tokenizer.kind {kind} needs a base with a tokenizer; set model.base to one, or tokenizer.kind to bpe."
        )
    return found


def _byte_level(model: models.BPE, breaks: bool = False) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    runs = pre_tokenizers.Split(Regex(_RUNS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([runs, words]) if breaks else words
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _parts(kinds: dict[str, Any]) -> list[dict[str, Any]]:
    """The splitting steps of a `tokenizer.json`, at least one."""
    split = kinds["pre_tokenizer"] or {}
    parts: list[dict[str, Any]] = split.get("pretokenizers") or [split]
    return parts


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
