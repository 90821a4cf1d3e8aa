"""What the articles routes take and give, as JSON."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

Topic = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=64)]
LARGEST_SEED = 2**53 - 1  # the largest whole number that JavaScript keeps exactly


class ArticleRequest(BaseModel):
    """Ask for an article. What is left out is as the model's own defaults say."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    topic: Topic = Field(description="what the article is about: a title, 1 to 300 characters")
    max_tokens: int | None = Field(
        None, ge=1, description="length in tokens, at most; the server has a limit of its own"
    )
    temperature: float | None = Field(None, ge=0, le=2, description="0 takes the likeliest word each time")
    top_p: float | None = Field(None, gt=0, le=1, description="keep the likeliest tokens of this joint probability")
    top_k: int | None = Field(None, ge=0, le=100_000, description="keep this many of the likeliest tokens; 0: all")
    repetition_penalty: float | None = Field(None, ge=1, le=2, description="1 is none; more avoids words used before")
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED, description="the same seed gives the same text")
    stop: list[Stop] | None = Field(None, max_length=4, description="the article ends before any of these strings")
    stream: bool = Field(False, description="answer with server-sent events: start, text, text, ..., done")

    @field_validator("topic")
    @classmethod
    def _on_one_line(cls, topic: str) -> str:
        return " ".join(topic.split())  # a title in training has no line ends

    def given_settings(self) -> dict[str, Any]:
        """What the request says of how to write, as fields of `sampling.Settings`."""
        given = self.model_dump(exclude={"topic", "stream"}, exclude_none=True)
        return {**given, "stop": tuple(self.stop)} if self.stop else given


class ModelIdentity(BaseModel):
    """Which model answers."""

    name: str
    version: int | None = Field(description="number in the registry; null for a bundle served from a directory")
    stage: str | None = Field(description="the stage it was in when it was loaded")
    checksum: str = Field(description="of the bundle's manifest")


class WriteSettings(BaseModel):
    """How the article was written."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    stop: list[str]


class ArticleStart(BaseModel):
    """The first event of a stream: everything known before the first word."""

    id: str
    created: str = Field(description="ISO 8601, UTC")
    topic: str
    model: ModelIdentity
    seed: int
    settings: WriteSettings
    prompt_tokens: int = Field(description="of the topic, as the model read it")
    prompt_tokens_cut: int = Field(
        description="left out at the topic's beginning, because the model's window is shorter"
    )


class Article(ArticleStart):
    """A whole article. One that reached its limit ends with its last whole sentence."""

    text: str
    finish_reason: Literal["end", "length", "stop"]
    tokens: int = Field(description="written, before the cut to whole sentences")
    seconds: float


class ArticleRecord(Article):
    """An article and what its model was made from."""

    lineage: dict[str, Any]


class ErrorDetail(BaseModel):
    """What went wrong, for a program and for a person."""

    type: Literal["invalid_request", "not_found", "too_many_requests", "not_ready", "server_error"]
    message: str
    param: str | None = Field(None, description="the field that is wrong, if it is one")


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail
