"""Text to token numbers and back: GPT-2's own BPE, a byte-level BPE trained on the corpus, or characters.

All three are one class over Hugging Face's `tokenizers`, and one file, `tokenizer.json`, in its format. The end token
`<|endoftext|>` stands between documents. It never comes out of text: a page that contains these characters is
encoded as ordinary ones.
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
        """Wrap a tokenizer that has the end token among its special tokens."""
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
            raise UserError(f"There is no tokenizer at {path}; name a folder that has a tokenizer.json.") from None
        except Exception as error:  # `tokenizers` raises nothing narrower
            raise UserError(f"{path} is no tokenizer ({_first_line(error)}); make or fetch it again.") from error
        if found.token_to_id(END) is None:
            raise UserError(f"The tokenizer at {path} has no token {END}; use one of a GPT-2.")
        if not any(token.special and token.content == END for token in found.get_added_tokens_decoder().values()):
            found.add_special_tokens([END])
        # transformers keeps there how a batch was last cut and filled up
        found.no_truncation()
        found.no_padding()
        return cls(found)

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`; equal tokenizers give equal bytes."""
        write_beside(path, self._tokenizer.to_str())

    def encode(self, text: str) -> list[int]:
        """The text's tokens; never the end token."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The text's tokens, and each one's first character and the one after its last."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.ids), list(encoding.offsets)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's tokens: what `encode` gives, and faster."""
        return [tokens.tolist() for tokens in self.encode_arrays(texts)]

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Each text's tokens, shape (tokens,), on all cores."""
        if fast := self._byte_pairs():
            return fast.encode(texts)
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encoded]

    def _byte_pairs(self) -> BytePairs | None:
        """The same tokenizer by tiktoken, where it is one; made when first needed, as GPT-2's merges take a second."""
        if not self._asked:
            self._asked = True
            pairs = self.byte_pairs()
            ranks = byte_pairs.ranks(*pairs) if pairs and self._is_plain() else None
            with suppress(ImportError):  # a server has no tiktoken, and encodes one prompt at a time
                self._fast = BytePairs(ranks, self.breaks) if ranks else None
        return self._fast

    def _is_plain(self) -> bool:
        """Whether nothing but vocabulary and merges decides on this byte-level BPE's tokens."""
        kinds = json.loads(self._tokenizer.to_str())
        odd = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]
        return added == [END] and not any(kinds["model"].get(name) for name in odd)

    def decode(self, tokens: Sequence[int]) -> str:
        """The tokens' text, without end tokens; bytes that are no UTF-8 become U+FFFD."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def symbol(self, token: int) -> str | None:
        """The token as the vocabulary writes it, where a character of GPT-2's stands for a byte; None for no token."""
        found = self._tokenizer.id_to_token(token)
        return None if found is None else str(found)

    @property
    def breaks(self) -> bool:
        """Whether a run of line ends is a piece of its own, as in the tokenizers that are trained here."""
        return bool(_parts(json.loads(self._tokenizer.to_str()))[:-1] == [_BREAKS])

    @property
    def is_gpt2s(self) -> bool:
        """Whether GPT-2's pattern, a vocabulary and merges are all there is to it."""
        return not self.breaks and self.byte_pairs() is not None

    def byte_pairs(self) -> tuple[dict[str, int], list[tuple[str, str]]] | None:
        """Vocabulary and merges, as GPT-2's two files hold them; None where this is no byte-level BPE.

        The files do not say whether `breaks` holds.
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
    """Train a byte-level BPE (Radford et al. 2019, section 2.2) with GPT-2's pattern for words.

    A run of line ends is one piece, which can become one token: GPT-2's pattern splits the two before a word into two
    equal tokens, and a small model that writes them cannot count.

    The same texts give the same tokenizer, in whatever order they come. A small corpus may give fewer tokens than
    `vocabulary`; it is at least 257, every byte and the end token.
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
    """One token for each character that the texts contain; any other character becomes U+FFFD."""
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
    """GPT-2's tokenizer from its two files, in Hugging Face's names or OpenAI's.

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
            f"{vocabulary} and {merges.name} are no BPE ({_first_line(error)}); fetch both again."
        ) from error
    if model.token_to_id(END) is None:
        raise UserError(f"{vocabulary} has no token {END}; use the files of a GPT-2.")
    tokenizer = _byte_level(model)
    tokenizer.add_special_tokens([END])
    return Tokenizer(tokenizer)


def of_directory(directory: Path) -> Tokenizer | None:
    """The tokenizer that lies in a model's folder, in any of the forms that `load` and `gpt2` read, or None.

    Raises:
        UserError: its files are damaged, or have no end token.
    """
    if (directory / FILE).is_file():
        return Tokenizer.load(directory / FILE)
    if any((directory / name).is_file() for pair in PAIRS for name in pair):
        return gpt2(directory)
    return None


def choose(kind: str, vocabulary: int, base: Path | None, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer that a configuration asks for.

    Args:
        kind: `bpe`, `characters`, or `base`: that of the base model.
        vocabulary: tokens of a BPE trained on the texts.
        base: the base model's folder; None where training starts from scratch.

    Raises:
        UserError: `base`, and there is no base or it has no tokenizer.
    """
    if kind == "bpe":
        return train_bpe(texts, vocabulary)
    if kind == "characters":
        return characters(texts)
    found = of_directory(base) if base else None
    if found is None:
        raise UserError(f"tokenizer.kind {kind} needs a base with a tokenizer; set model.base to one, or choose bpe.")
    return found


def _byte_level(model: models.BPE, breaks: bool = False) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    runs = pre_tokenizers.Split(Regex(_RUNS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([runs, words]) if breaks else words
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _parts(kinds: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps in which a `tokenizer.json` splits a text, at least one."""
    split = kinds["pre_tokenizer"] or {}
    parts: list[dict[str, Any]] = split.get("pretokenizers") or [split]
    return parts


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
