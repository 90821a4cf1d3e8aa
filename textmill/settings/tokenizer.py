"""Settings of the tokenizer, and of its cache."""

from typing import Literal

from pydantic import Field

from textmill.settings.group import Settings


class TokenizerSettings(Settings):
    """How text becomes tokens."""

    kind: Literal["bpe", "characters", "base"] = Field(
        "bpe",
        description="bpe: byte pairs, trained on the corpus; characters: one token per character; base: the tokenizer of model.base, always used if there is a base",
    )
    vocabulary: int = Field(
        2048, ge=257, le=100_000, description="tokens of a bpe trained on the corpus; small corpora need few"
    )
    cache_bytes: int = Field(
        4_000_000_000,
        ge=0,
        description="bytes of tokens cached between runs, so that only new text is tokenised; 0: no cache",
    )
    cache_dir: str = Field("", description="folder of this cache; empty: 'tokens' under data_dir")
