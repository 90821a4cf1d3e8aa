"""Schemas of OpenAI's completions (platform.openai.com/docs/api-reference/completions)."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, field_validator

from serving.interface.schemas import (
    LARGEST_SEED,
    MOST_TEXTS,
    ModelIdentity,
    Request,
    Stop,
    Target,
    User,
    WriteSettings,
)

_LONGEST_PROMPT = 20_000  # characters; GPT-2 reads 1024 tokens
_LARGEST_TOKEN = 2**31 - 1
_LIKELIEST = 1e-6  # top_p that leaves one token; the sampler takes no 0
_MAX_TOKENS = 16  # OpenAI's
Text = Annotated[str, Field(max_length=_LONGEST_PROMPT)]
Tokens = Annotated[
    list[Annotated[int, Field(ge=0, le=_LARGEST_TOKEN)]], Field(min_length=1, max_length=_LONGEST_PROMPT)
]


TokenName = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]
MOST_PROMPTS = 64  # and texts of one request
_SETTINGS = {
    *("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "min_tokens", "ignore_eos", "seed"),
}


class StreamOptions(Request):
    """Options of a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False  # accepted, and not done: it hides sizes from who listens on the line


class SamplingRequest(Request):
    """How a text is sampled, for completions and chat: OpenAI's fields and some of vLLM's."""

    max_tokens: int | None = Field(None, ge=1, le=LARGEST_SEED)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1, description="0 always takes the likeliest token")
    top_k: int | None = Field(None, ge=-1, le=100_000, description="-1 or 0: all")
    min_p: float | None = Field(
        None, ge=0, le=1, description="drop tokens less likely than this share of the likeliest"
    )
    repetition_penalty: float | None = Field(None, ge=1, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[TokenName, Bias] | None = Field(None, max_length=300, description="by token number")
    min_tokens: int | None = Field(None, ge=0, le=LARGEST_SEED, description="no end of the text before so many")
    ignore_eos: bool | None = Field(None, description="never draw the end token")
    n: int | None = Field(1, ge=1, le=MOST_TEXTS)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: Stop | list[Stop] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: User | None = ""

    @field_validator("stop")
    @classmethod
    def _few(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > 4:
            raise ValueError("must have at most 4 items")
        return stop

    def given_settings(self) -> dict[str, Any]:
        """The request's sampling settings, as fields of `sampling.Settings`."""
        given = self.model_dump(include=_SETTINGS, exclude_none=True)
        if given.get("top_k") == -1:
            given["top_k"] = 0
        if given.get("top_p") == 0:
            given["top_p"] = _LIKELIEST
        if "seed" in given:
            given["seed"] %= LARGEST_SEED + 1
        given["logit_bias"] = tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items())
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return {**given, "stop": tuple(stop)} if stop else given


class CompletionRequest(SamplingRequest):
    """OpenAI's fields and some of vLLM's. An unsupported field is refused, not ignored."""

    model: Target = Field("", description="a model from GET /v1/models; empty: the server chooses")
    prompt: Text | list[Text] | Tokens | list[Tokens] | None = Field(
        None, description="text or tokens to continue; empty or null: a new document"
    )
    max_tokens: int | None = Field(_MAX_TOKENS, ge=1, le=LARGEST_SEED)
    best_of: int | None = Field(None, ge=1, le=MOST_TEXTS, description="must equal n if set")
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool | None = False
    suffix: str | None = Field(None, description="only empty or null; text after the completion is not supported")

    @field_validator("suffix")
    @classmethod
    def _no_suffix(cls, suffix: str | None) -> str | None:
        if suffix:
            raise ValueError("is not supported; leave it out")
        return suffix

    @field_validator("prompt")
    @classmethod
    def _few_prompts(cls, prompt: Any) -> Any:
        several = isinstance(prompt, list) and not (prompt and isinstance(prompt[0], int))
        if several and not 1 <= len(prompt) <= MOST_PROMPTS:
            raise ValueError(f"must have 1 to {MOST_PROMPTS} prompts")
        return prompt

    def prompts(self) -> list[str | list[int]]:
        """The prompts, each text or tokens."""
        if not self.prompt:
            return [""]
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)

    def given_settings(self) -> dict[str, Any]:
        """The request's sampling settings, as fields of `sampling.Settings`."""
        return {"max_tokens": _MAX_TOKENS, **super().given_settings()}


class Choice(BaseModel):
    """One text."""

    index: int
    text: str
    finish_reason: str | None = Field(None, description="stop, length, or content_filter if the guard refused the text")
    logprobs: Any = None


class Usage(BaseModel):
    """Tokens read and generated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionSettings(WriteSettings):
    """The sampling settings of a completion."""

    min_p: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: list[tuple[int, float]]
    min_tokens: int
    ignore_eos: bool


class Provenance(BaseModel):
    """An addition to OpenAI's fields: the model and settings, to reproduce the text."""

    model: ModelIdentity
    seed: int
    settings: CompletionSettings


class CompletionAnswer(BaseModel):
    """OpenAI's response, or one event of its stream."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage | None = None
    textmill: Provenance


class ModelEntry(BaseModel):
    """One served model."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "textmill"
    root: str
    max_model_len: int
    textmill: dict[str, Any]


class ModelList(BaseModel):
    """The served models."""

    object: str = "list"
    data: list[ModelEntry]
