"""Text to token numbers and back: GPT-2's own BPE, a byte-level BPE trained on the corpus, or characters.

All three are one class over Hugging Face's `tokenizers`, and one file, `tokenizer.json`, in its format. The end token
`<|endoftext|>` stands between documents. It never comes out of text: a page that contains these characters is
encoded as ordinary ones.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from textmill.errors import UserError
from textmill.files import write_beside

END = "<|endoftext|>"
_UNKNOWN = "\ufffd"  # stands for a character that a characters tokenizer has not seen
_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))  # Hugging Face's names, OpenAI's


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
        return cls(found)

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`; equal tokenizers give equal bytes."""
        write_beside(path, self._tokenizer.to_str())

    def encode(self, text: str) -> list[int]:
        """The text's tokens; never the end token."""
        return list(self._tokenizer.encode(text).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's tokens, on all cores."""
        return [list(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(texts)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The tokens' text, without end tokens; bytes that are no UTF-8 become U+FFFD."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


def train_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE (Radford et al. 2019, section 2.2) with GPT-2's pattern for words.

    The same texts give the same tokenizer, in whatever order they come. A small corpus may give fewer tokens than
    `vocabulary`; it is at least 257, every byte and the end token.
    """
    tokenizer = _byte_level(models.BPE())
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
    present = [names for names in _FILES if all((directory / name).is_file() for name in names)]
    if not present:
        names = " nor ".join(" and ".join(pair) for pair in _FILES)
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


def choose(kind: str, vocabulary: int, base: str, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer that a configuration asks for.

    Args:
        kind: `bpe`, `gpt2` or `characters`.
        vocabulary: tokens of a BPE trained on the texts.
        base: the base model's folder, where `gpt2`'s files are.

    Raises:
        UserError: `gpt2`, and the base has no such files.
    """
    if kind == "bpe":
        return train_bpe(texts, vocabulary)
    if kind == "characters":
        return characters(texts)
    if base == "scratch":
        raise UserError("tokenizer.kind gpt2 needs GPT-2's files; set model.base to a folder that has them.")
    folder = Path(base)
    return Tokenizer.load(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else gpt2(folder)


def _byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
