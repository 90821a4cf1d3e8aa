"""Schemas of OpenAI's chat completions (platform.openai.com/docs/api-reference/chat)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.interface.schemas import LARGEST_SEED, Request, Target
from serving.web.routes.openai_schemas import CompletionRequest, Provenance, SamplingRequest, Text, Usage

_SHARED = set(SamplingRequest.model_fields) - {"max_tokens"}


class Part(Request):
    """A part of a message. Other kinds than text are refused."""

    type: Literal["text"]
    text: Text


class Message(Request):
    """One message. Other fields, such as names and tool calls, are accepted and ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[Part] | None = None

    def text(self) -> str:
        """The content on one line, as a title has it."""
        content = self.content or ""
        joined = content if isinstance(content, str) else " ".join(part.text for part in content)
        return " ".join(joined.split())


class ChatRequest(SamplingRequest):
    """OpenAI's chat fields. The last message of the user is the topic; the others are not read."""

    model: Target = Field("", description="a model from GET /v1/models; empty: the server chooses")
    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(None, ge=1, le=LARGEST_SEED, description="OpenAI's name of max_tokens")
    logprobs: Literal[False] | None = Field(None, description="only false")
    tools: list[Any] | None = Field(None, max_length=0, description="only empty: the model calls no tools")
    tool_choice: Literal["none", "auto"] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None
    metadata: dict[str, Any] | None = Field(None, description="ignored")
    store: bool | None = Field(None, description="ignored: nothing is stored")

    @model_validator(mode="after")
    def _has_topic(self) -> "ChatRequest":
        if not self.topic:
            raise ValueError("messages must have one with the role 'user' and text in it")
        return self

    @property
    def topic(self) -> str:
        """What to write about."""
        said = [message for message in self.messages if message.role == "user"]
        return said[-1].text() if said else ""

    def given_settings(self) -> dict[str, Any]:
        """The request's sampling settings, as fields of `sampling.Settings`."""
        given = super().given_settings()
        return {**given, "max_tokens": self.max_completion_tokens} if self.max_completion_tokens else given

    def as_completion(self) -> CompletionRequest:
        """The same request to the other route, without its prompt."""
        return CompletionRequest(**{name: getattr(self, name) for name in _SHARED}, model=self.model)


class AnswerMessage(BaseModel):
    """What was written."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: str | None = None


class ChatChoice(BaseModel):
    """One text."""

    index: int
    message: AnswerMessage
    finish_reason: str
    logprobs: None = None


class ChatAnswer(BaseModel):
    """OpenAI's response."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    textmill: Provenance
