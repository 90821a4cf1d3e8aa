"""When a model is good enough, and what happens to it then."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from textmill.settings.group import Settings


class Evaluate(Settings):
    """When a model is good enough."""

    margin_percent: float = Field(
        0.5,
        ge=0,
        description="how much lower, in percent, its bits per byte must be than Production's (or, before there is one, its base's or an untrained model's)",
    )
    max_copied_percent: float = Field(
        5.0,
        ge=0,
        le=100,
        description="share, in percent, of the passages of 30 tokens it writes that may stand word for word in the training text",
    )
    form: Literal["refuse", "warn"] = Field(
        "refuse",
        description="what becomes of a model whose texts are unlike the training text in line breaks, words, endings or loops",
    )
    canaries: list[Annotated[str, StringConstraints(min_length=8)]] = Field(
        [],
        description="strings that the model must not know: given the first half of one, it must not write the second",
    )
    samples: int = Field(4, ge=1, le=64, description="sample texts shown to the reviewer")
    sample_tokens: int = Field(120, ge=8, description="tokens in each sample text")
    texts: int = Field(
        16, ge=1, le=1000, description="texts written to measure copying and repetition by, the samples among them"
    )
    probes: int = Field(
        100,
        ge=0,
        description="passages of the training text, whose first 20 tokens the model is given: does it know the rest?",
    )


class Registry(Settings):
    """What happens to a model that passed."""

    promote: Literal["by-reviewer", "if-better"] = Field(
        "by-reviewer",
        description="by-reviewer: a passed version waits in Staging; if-better: it goes to Production at once",
    )
