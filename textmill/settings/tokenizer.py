"""`tokenizer`: how text becomes numbers."""

from typing import Literal

from pydantic import Field

from textmill.settings.group import Settings


class TokenizerSettings(Settings):
    """How text becomes numbers."""

    kind: Literal["bpe", "characters", "base"] = Field(
        "bpe",
        description="bpe: byte pairs, trained on the corpus as GPT-2's were on its own; characters: one token a character; base: that of model.base, which is taken in any case where there is one",
    )
    vocabulary: int = Field(
        2048, ge=257, le=100_000, description="tokens of a bpe trained on the corpus; small corpora want few"
    )
    cache_bytes: int = Field(
        4_000_000_000,
        ge=0,
        description="bytes of tokens kept from run to run, so that only new text is tokenised; 0: none",
    )
    cache_dir: str = Field("", description="folder for them; empty: 'tokens' under data_dir")
