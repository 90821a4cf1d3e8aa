"""Preprocess's output: token windows, their tokenizer, and facts about the corpus."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textmill.corpus import shards
from textmill.corpus.shards import FACTS_FILE
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import Tokenizer
from textmill.training.dataset import TokenStream


@dataclass(frozen=True, slots=True)
class Windows:
    """A folder with `Split-train`, `Split-validation`, `tokenizer.json` and `facts.json`."""

    folder: Path
    tokenizer: Tokenizer
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Windows":
        """Read everything except the tokens."""
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        return cls(folder, Tokenizer.load(folder / bundle.TOKENIZER), facts)

    def stream(self, split: str, vocabulary: int, kept: Path) -> TokenStream:
        """A split's token stream for a model of this vocabulary, cached as a file in the folder `kept`."""
        files = [shard.check() for shard in shards.of_split(self.folder / f"Split-{split}")]
        packed = TokenStream.pack(files, vocabulary, kept)
        assert isinstance(packed.tokens, np.memmap)
        os.utime(str(packed.tokens.filename))  # streams long unused are deleted
        return packed
