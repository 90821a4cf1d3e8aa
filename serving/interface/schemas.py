"""What the articles routes take and give, as JSON."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Topic = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=64)]
User = Annotated[str, StringConstraints(max_length=128)]
Target = Annotated[str, StringConstraints(max_length=128)]
ParameterName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
ParameterValue = Annotated[str, StringConstraints(max_length=300)] | int | float | bool
LARGEST_SEED = 2**53 - 1  # the largest whole number that JavaScript keeps exactly
MOST_TEXTS = 8  # of one request
_LONGEST_WAIT_S = 3600


class Request(BaseModel):
    """A request's body: unknown fields and numbers in quotes are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ArticleRequest(Request):
    """Ask for an article, by its topic or by a template. What is left out is as the model's own defaults say."""

    topic: Topic | None = Field(None, description="what the article is about: a title, 1 to 300 characters")
    template: str | None = Field(
        None, max_length=64, description="name of a template, instead of a topic; GET /v1/templates lists them"
    )
    parameters: dict[ParameterName, ParameterValue] = Field(
        default_factory=dict, max_length=32, description="what the template wants to know"
    )
    model: Target = Field("", description="a stage, a version or a model served here; empty: the server chooses")
    user: User = Field("", description="any name for the reader; the same one is answered by the same version")
    n: int | None = Field(
        None, ge=1, le=MOST_TEXTS, description="how many articles; given, the answer is a list of them"
    )
    max_tokens: int | None = Field(
        None, ge=1, description="length in tokens, at most; the server has a limit of its own"
    )
    temperature: float | None = Field(None, ge=0, le=2, description="0 takes the likeliest word each time")
    top_p: float | None = Field(None, gt=0, le=1, description="keep the likeliest tokens of this joint probability")
    top_k: int | None = Field(None, ge=0, le=100_000, description="keep this many of the likeliest tokens; 0: all")
    repetition_penalty: float | None = Field(None, ge=1, le=2, description="1 is none; more avoids words used before")
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED, description="the same seed gives the same text")
    stop: list[Stop] | None = Field(None, max_length=4, description="the article ends before any of these strings")
    deadline_s: float | None = Field(
        None, gt=0, le=_LONGEST_WAIT_S, description="seconds in which it must be written; else the answer is an error"
    )
    stream: bool = Field(False, description="answer with server-sent events: start, text, text, ..., done")

    @field_validator("topic")
    @classmethod
    def _on_one_line(cls, topic: str | None) -> str | None:
        if topic is None:
            raise ValueError("should be a string")
        return " ".join(topic.split())  # a title in training has no line ends

    @model_validator(mode="after")
    def _topic_or_template(self) -> "ArticleRequest":
        if (self.topic is None) == (self.template is None):
            raise ValueError("give either a topic or a template")
        if self.template is None and self.parameters:
            raise ValueError("parameters belong to a template; give its name")
        return self

    def given_settings(self) -> dict[str, Any]:
        """What the request says of how to write, as fields of `sampling.Settings`."""
        names = {"max_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed"}
        given = self.model_dump(include=names, exclude_none=True)
        return {**given, "stop": tuple(self.stop)} if self.stop else given


class ModelIdentity(BaseModel):
    """Which model answers."""

    name: str = Field(max_length=256)
    version: int | None = Field(
        ge=0, le=LARGEST_SEED, description="number in the registry; null for a bundle served from a directory"
    )
    stage: str | None = Field(max_length=256, description="the stage it was in when it was loaded")
    checksum: str = Field(max_length=256, description="of the bundle's manifest")


class WriteSettings(BaseModel):
    """How the article was written."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    stop: list[str]


class CopiedPassage(BaseModel):
    """Words that stand in a training text just so."""

    words: int
    url: str = Field(description="of the article they come from")
    start: int | None = Field(description="place in `text`, in characters; null where the passage was left out")
    stop: int | None


class GuardReport(BaseModel):
    """What was found when the text was compared with the texts that the model learned from."""

    status: Literal["clean", "copied", "refused", "no index", "not checked"]
    words: int = Field(description="words in a row that count as copied")
    attempts: int = Field(description="texts begun until one would do")
    passages: list[CopiedPassage]


class ArticleStart(BaseModel):
    """The first event of a stream: everything known before the first word."""

    id: str
    created: str = Field(description="ISO 8601, UTC")
    topic: str
    opening: str = Field(description="how the text begins, where a template says so; else empty")
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
    finish_reason: Literal["end", "length", "stop", "refused"]
    tokens: int = Field(description="written, before the cut to whole sentences")
    seconds: float
    guard: GuardReport


class ArticleList(BaseModel):
    """The answer to a request that says how many."""

    articles: list[Article]


class ArticleRecord(Article):
    """An article and what its model was made from."""

    lineage: dict[str, Any]


class TemplateParameter(BaseModel):
    """What a template wants to know."""

    name: str
    description: str
    required: bool
    default: ParameterValue | None


class TemplateDescription(BaseModel):
    """A template that a request may name."""

    name: str
    description: str
    parameters: list[TemplateParameter]


class TemplateList(BaseModel):
    """All templates of this server."""

    templates: list[TemplateDescription]


class RatingRequest(Request):
    """What a reader thinks of an article."""

    rating: Literal["up", "down"]
    comment: str = Field("", max_length=2000)
    user: User = Field("", description="any name for the reader; a second rating of theirs replaces the first")


class RatingAnswer(BaseModel):
    """A rating that has been taken down and will reach the store."""

    id: str = Field(description="of the rating")
    article: str
    rating: Literal["up", "down"]


ErrorKind = Literal[
    "invalid_request",
    "invalid_request_error",
    "authentication_error",
    "not_found",
    "too_many_requests",
    "rate_limit_error",
    "not_ready",
    "deadline_passed",
    "server_error",
]


class ErrorDetail(BaseModel):
    """What went wrong, for a program and for a person."""

    type: ErrorKind
    message: str
    param: str | None = Field(None, description="the field that is wrong, if it is one")
    code: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail
