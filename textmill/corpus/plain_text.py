"""A plain text file as what FineTune reads, without Beam: windows of tokens, and the text itself for the index.

The first part of the file is trained on and the rest held out, as nanoGPT splits its texts. `<|endoftext|>` in the file
ends a document. The file is streamed: memory does not grow with it.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

from textmill.corpus import tfrecords
from textmill.corpus.shards import FACTS_FILE, Listing, Shard, listing
from textmill.gpt2 import tokenizer as tokenizers
from textmill.gpt2.tokenizer import END, Tokenizer
from textmill.ground.errors import UserError
from textmill.ground.files import write_beside

_PIECE = 1 << 18  # characters tokenised at once
_TOKENIZER_SAMPLE = 200_000_000  # characters; enough text for any vocabulary
_TOPICS = ("",)  # a plain text has no titles


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file in UTF-8, and where its held-out part begins."""

    path: Path
    boundary: int  # characters before it

    @classmethod
    def open(cls, path: Path, held_out_percent: float) -> "TextFile":
        """Measure a file.

        Raises:
            UserError: it is absent, is not UTF-8, or is too short to hold anything out.
        """
        try:
            with _reading(path) as file:
                characters = sum(map(len, iter(lambda: file.read(_PIECE), "")))
        except FileNotFoundError:
            raise UserError(f"There is no text at {path}; name a file with --text.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read as UTF-8 text ({error}); name a plain text file.") from None
        boundary = int(characters * (1 - held_out_percent / 100))
        if not 0 < boundary < characters:
            raise UserError(f"{path} has {characters} characters, too few to learn from; name a longer text.")
        return cls(path, boundary)

    def pieces(self, split: str) -> Iterator[tuple[str, bool]]:
        """The text of `train` or `validation` in pieces, each with whether a document ends after it."""
        with _reading(self.path) as file:
            if split == "train":
                yield from _pieces(file, self.boundary)
            else:
                for _ in _blocks(file, self.boundary):
                    pass
                yield from _pieces(file, None)

    def sample(self) -> Iterator[str]:
        """Text of the training part to make a tokenizer from, up to a bound."""
        size = 0
        for text, _ in self.pieces("train"):
            size += len(text)
            yield text
            if size > _TOKENIZER_SAMPLE:
                return


def _reading(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig")  # line ends become '\n', a mark of the byte order is left out


def _blocks(file: TextIO, limit: int | None) -> Iterator[str]:
    """What is left of a file, or its next `limit` characters."""
    while block := file.read(_PIECE if limit is None else min(_PIECE, limit)):
        yield block
        if limit is not None:
            limit -= len(block)


def _pieces(file: TextIO, limit: int | None) -> Iterator[tuple[str, bool]]:
    held = ""
    for block in _blocks(file, limit):
        *whole, held = (held + block).split(END)
        yield from ((document, True) for document in whole if document)
        if len(held) >= _PIECE and (cut := _cut(held)) > 0:
            yield held[:cut], False
            held = held[cut:]
    if held:
        yield held, True


def _cut(text: str) -> int:
    """Where a text may be cut so that GPT-2's tokenizer makes the same tokens of both parts: before a line or a word."""
    for mark, after in (("\n", 1), (" ", 0)):
        place = text.rfind(mark, len(text) // 2)
        while place > 0:
            # of white space before a word, only the last sign belongs to the word
            if text[place + 1 : place + 2].strip() and (after or text[place - 1].strip()):
                return place + after
            place = text.rfind(mark, len(text) // 2, place)
    return len(text) - len(END) + 1  # what is left may be the first part of the end mark


@dataclass(slots=True)
class _Counts:
    """What was written of each split."""

    articles: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    windows: dict[str, Listing] = field(default_factory=dict)  # their files
    kept: dict[str, Listing] = field(default_factory=dict)  # the articles' files


def prepare(text: TextFile, tokenizer: Tokenizer, window: int, windows: Path, articles: Path) -> int:
    """Write the folders that `fine_tune` takes; returns how many tokens there are to train on.

    Raises:
        UserError: the text does not fill one window.
    """
    windows.mkdir(parents=True, exist_ok=True)
    tokenizer.save(windows / tokenizers.FILE)
    counts = _Counts()
    digest = hashlib.sha256()
    for split in ("train", "validation"):
        _write(text, split, tokenizer, windows / f"Split-{split}", articles / f"Split-{split}", counts, digest)
    if counts.tokens["train"] <= window or counts.tokens["validation"] < 2:
        raise UserError(
            f"{text.path} gives {counts.tokens['train']} tokens to train on and {counts.tokens['validation']} to hold out, too "
            f"few for a window of {window}; name a longer text, or make model.window smaller."
        )
    facts = {
        "snapshot": text.path.name,
        "digest": digest.hexdigest(),
        "time": None,
        "sources": {text.path.name: sum(counts.articles.values())},
        "articles": counts.articles,
        "bytes": counts.bytes,
        "tokens": counts.tokens,
        "vocabulary": tokenizer.vocabulary,
        "window": window,
        "topics": _TOPICS,
        "shards": counts.windows,
    }
    write_beside(windows / FACTS_FILE, json.dumps(facts))
    write_beside(articles / FACTS_FILE, json.dumps({"shards": counts.kept}))
    return counts.tokens["train"]


def _write(
    text: TextFile,
    split: str,
    tokenizer: Tokenizer,
    windows: Path,
    articles: Path,
    counts: _Counts,
    digest: "hashlib._Hash",
) -> None:
    for counted in (counts.articles, counts.bytes, counts.tokens):
        counted[split] = 0
    for folder in (windows, articles):
        folder.mkdir(parents=True, exist_ok=True)
    with (windows / "text").open("wb") as packed, gzip.open(articles / "text.gz", "wb", compresslevel=1) as kept:
        for number, (piece, ends) in enumerate(text.pieces(split), start=1):
            digest.update(piece.encode())
            tokens = tokenizer.encode(piece) + [tokenizer.end] * ends
            packed.write(tfrecords.frame(tfrecords.encode_example({"tokens": tokens})))
            _keep(kept, f"{text.path.name}#{split}-{number}", text.path.name, piece)
            counts.articles[split] += 1
            counts.bytes[split] += len(piece.encode())
            counts.tokens[split] += len(tokens)
    written = counts.articles[split]  # one record a piece in each of the two
    counts.windows[split] = listing([Shard.written(windows / "text", written)])
    counts.kept[split] = listing([Shard.written(articles / "text.gz", written)])


def _keep(file: BinaryIO | gzip.GzipFile, url: str, source: str, piece: str) -> None:
    values = {"url": url, "source": source, "title": "", "text": piece}
    file.write(tfrecords.frame(tfrecords.encode_example(values)))
