"""The model's shape, and what its training starts from."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from textmill.gpt2.architecture import OLD_NAMES, SIZES, Architecture, of_size
from textmill.settings.group import Settings

STARTER = "starter"  # the small English model that comes with Textmill
_BASE_PREFIXES = ("hf:", "version:", "stage:")  # of bases that are no folder on this machine
_BASE_ELSEWHERE = r"hf:[\w.-]+/[\w.-]+(@[\w./-]+)?|version:[1-9]\d*|stage:(Production|Staging|Archived)"


class Model(Settings):
    """The model's shape."""

    size: Literal["custom", "124M", "355M", "774M", "1558M", "117M", "345M"] = Field(
        "custom", description="one of OpenAI's sizes, or custom: the four numbers below"
    )
    base: str = Field(
        "scratch",
        description="what training starts from: starter (a small English model that comes with Textmill); scratch (random weights, for other languages); 124M, 355M, 774M or 1558M (OpenAI's, downloaded once); a folder, such as checkpoint/run1, relative to this file; hf:OWNER/NAME; version:7 or stage:Production (of this model); a base brings its own sizes and tokenizer",
    )
    layers: int = Field(4, ge=1, description="transformer layers (custom size)")
    heads: int = Field(4, ge=1, description="attention heads (custom size); divides width")
    width: int = Field(128, ge=8, description="width of the residual stream (custom size)")
    window: int = Field(
        128,
        ge=8,
        le=8192,
        description="tokens the model sees at once; GPT-2's own positions end at 1024; with a base: all of its positions, unless fewer are set here",
    )

    quantise: Literal["none", "float16", "int8", "int4"] = Field(
        "int8",
        description="how the finished weights are rounded for judging and serving on CPUs: eight bits, four, float16, or not at all; all but the last can be served on GPUs, in float16",
    )

    @field_validator("base")
    @classmethod
    def _base_is_spelled_right(cls, base: str) -> str:
        if not base or (base.startswith(_BASE_PREFIXES) and not re.fullmatch(_BASE_ELSEWHERE, base)):
            raise ValueError(
                f"'{base}' is no base; write hf:OWNER/NAME, version:7, stage:Production, a size or a folder"
            )
        return base

    @property
    def base_is_folder(self) -> bool:
        """Whether the base is a folder on this machine that the user named."""
        known = self.base in ("scratch", STARTER, *SIZES, *OLD_NAMES)
        return not known and not self.base.startswith(_BASE_PREFIXES)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Model":
        if self.size == "custom" and self.width % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide width: {self.width}")
        if self.size == "custom" and self.width // self.heads % 8:
            raise ValueError(
                f"each of the {self.heads} heads would be {self.width // self.heads} wide, and serving wants a multiple of 8; "
                f"make width a multiple of {8 * self.heads}"
            )
        return self

    def architecture(self, vocabulary: int) -> Architecture:
        """The architecture these settings describe, for a tokenizer of this many tokens."""
        if self.size in SIZES or self.size in OLD_NAMES:
            return of_size(self.size, vocabulary, self.window)
        return Architecture(vocabulary, self.window, self.layers, self.heads, self.width)
