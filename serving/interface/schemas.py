"""Requests and responses of the articles routes, as JSON."""

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
    """A request's body. Unknown fields and quoted numbers are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ArticleRequest(Request):
    """Request an article on a topic or from a template. Omitted settings take the model's defaults."""

    topic: Topic | None = Field(None, description="topic or title, 1 to 300 characters")
    template: str | None = Field(
        None, max_length=64, description="name of a template, instead of a topic; see GET /v1/templates"
    )
    parameters: dict[ParameterName, ParameterValue] = Field(
        default_factory=dict, max_length=32, description="the template's parameters, by name"
    )
    model: Target = Field("", description="stage, version or model to use; empty: the server chooses")
    user: User = Field("", description="any name for the reader; the same user gets the same version")
    n: int | None = Field(None, ge=1, le=MOST_TEXTS, description="number of articles; if set, the response is a list")
    max_tokens: int | None = Field(
        None, ge=1, le=LARGEST_SEED, description="maximum length in tokens; the server has its own limit"
    )
    temperature: float | None = Field(None, ge=0, le=2, description="0 always takes the likeliest token")
    top_p: float | None = Field(
        None, gt=0, le=1, description="sample from the likeliest tokens with this total probability"
    )
    top_k: int | None = Field(
        None, ge=0, le=100_000, description="sample from this many of the likeliest tokens; 0: all"
    )
    repetition_penalty: float | None = Field(
        None, ge=1, le=2, description="1 is off; higher values avoid tokens used before"
    )
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED, description="the same seed gives the same text")
    stop: list[Stop] | None = Field(
        None, max_length=4, description="up to 4 strings; the article ends before the first of them"
    )
    deadline_s: float | None = Field(
        None, gt=0, le=_LONGEST_WAIT_S, description="deadline in seconds; a later article is an error"
    )
    stream: bool = Field(False, description="respond with server-sent events: start, text, text, ..., done")

    @field_validator("topic")
    @classmethod
    def _on_one_line(cls, topic: str | None) -> str | None:
        if topic is None:
            raise ValueError("must be text")
        return " ".join(topic.split())  # a title in training has no line ends

    @model_validator(mode="after")
    def _topic_or_template(self) -> "ArticleRequest":
        if (self.topic is None) == (self.template is None):
            raise ValueError("give either a topic or a template")
        if self.template is None and self.parameters:
            raise ValueError("the parameters need a template; set template to its name")
        return self

    def given_settings(self) -> dict[str, Any]:
        """The request's sampling settings, as fields of `sampling.Settings`."""
        names = {"max_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed"}
        given = self.model_dump(include=names, exclude_none=True)
        return {**given, "stop": tuple(self.stop)} if self.stop else given


class ModelIdentity(BaseModel):
    """The model that generated the text."""

    name: str = Field(max_length=256)
    version: int | None = Field(
        ge=0, le=LARGEST_SEED, description="version number in the registry; null for a bundle served from a directory"
    )
    stage: str | None = Field(max_length=256, description="its stage when it was loaded")
    checksum: str = Field(max_length=256, description="checksum of the bundle's manifest")


class WriteSettings(BaseModel):
    """The sampling settings of the article."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    stop: list[str]


class CopiedPassage(BaseModel):
    """A passage copied word for word from a training text."""

    words: int
    url: str = Field(description="address of the article it was copied from")
    start: int | None = Field(description="offset in `text`, in characters; null if the passage was removed")
    stop: int | None


class GuardReport(BaseModel):
    """The result of the comparison with the training texts."""

    status: Literal["clean", "copied", "refused", "no index", "not checked"]
    words: int = Field(description="minimum number of consecutive words that count as copied")
    attempts: int = Field(description="number of attempts until a text passed")
    passages: list[CopiedPassage]


class ArticleStart(BaseModel):
    """The first event of a stream: all that is known before the first token."""

    id: str
    created: str = Field(description="ISO 8601, UTC")
    topic: str
    opening: str = Field(description="the template's opening of the text; empty without one")
    model: ModelIdentity
    seed: int
    settings: WriteSettings
    prompt_tokens: int = Field(description="tokens of the topic that the model read")
    prompt_tokens_cut: int = Field(description="tokens cut from the start of the topic to fit the model's window")


class Article(ArticleStart):
    """A finished article. At the length limit, it is cut to its last whole sentence."""

    text: str
    finish_reason: Literal["end", "length", "stop", "refused"]
    tokens: int = Field(description="tokens generated, before the cut to whole sentences")
    seconds: float
    guard: GuardReport


class ArticleList(BaseModel):
    """The response to a request with `n`."""

    articles: list[Article]


class ArticleRecord(Article):
    """An article and the lineage of its model."""

    lineage: dict[str, Any]


class TemplateParameter(BaseModel):
    """A parameter of a template."""

    name: str
    description: str
    required: bool
    default: ParameterValue | None


class TemplateDescription(BaseModel):
    """A template that requests can use."""

    name: str
    description: str
    parameters: list[TemplateParameter]


class TemplateList(BaseModel):
    """All templates of this server."""

    templates: list[TemplateDescription]


class RatingRequest(Request):
    """A reader's rating of an article."""

    rating: Literal["up", "down"]
    comment: str = Field("", max_length=2000)
    user: User = Field("", description="any name for the reader; a new rating by the same user replaces the old one")


class RatingAnswer(BaseModel):
    """A rating that has been saved on disk."""

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
    """An error, for programs and people."""

    type: ErrorKind
    message: str
    param: str | None = Field(None, description="the invalid field, if there is one")
    code: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every error response."""

    error: ErrorDetail
