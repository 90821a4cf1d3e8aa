"""Settings of the evaluation, and of where a model goes after it passed."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from textmill.settings.group import Settings


class Evaluate(Settings):
    """When a model is good enough."""

    margin_percent: float = Field(
        0.5,
        ge=0,
        description="percent by which a model's bits per byte must be below those of the model in Production (of its base or an untrained model if there is none)",
    )
    max_copied_percent: float = Field(
        5.0,
        ge=0,
        le=100,
        description="maximum percent of generated 30-token passages that appear word for word in the training text",
    )
    form: Literal["refuse", "warn"] = Field(
        "refuse",
        description="what becomes of a model whose texts are unlike the training text in line breaks, words, endings or loops",
    )
    canaries: list[Annotated[str, StringConstraints(min_length=8)]] = Field(
        [],
        description="strings the model must not have memorised: given the first half of one, it must not generate the second",
    )
    samples: int = Field(4, ge=1, le=64, description="sample texts shown to the reviewer")
    sample_tokens: int = Field(120, ge=8, description="tokens per sample text")
    texts: int = Field(
        16, ge=1, le=1000, description="texts generated to measure copying and repetition, the samples included"
    )
    probes: int = Field(
        100,
        ge=0,
        description="training passages that test memorisation: given the first 20 tokens of one, does the model generate the rest?",
    )


class Registry(Settings):
    """Where a model goes after it passed evaluation."""

    promote: Literal["by-reviewer", "if-better"] = Field(
        "by-reviewer",
        description="by-reviewer: a version that passed waits in Staging; if-better: it goes to Production at once",
    )
