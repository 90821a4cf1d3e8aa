"""Schemas of Seldon's prediction protocol, version 1, for text (docs.seldon.io, "Seldon protocol")."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from serving.interface.schemas import MOST_TEXTS, Request

Puid = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Cell = str | int | float | bool | None


class Meta(Request):
    """Seldon's metadata. Other fields are accepted and ignored, as in Seldon's own servers."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    puid: Puid | None = Field(None, description="the prediction's id; generated if omitted")
    tags: dict[str, Any] = Field(default_factory=dict)


class NdArray(Request):
    """A table: one article for each row."""

    names: list[str] = Field(
        default_factory=list, max_length=16, description="column names: topic and any setting of POST /v1/articles"
    )
    ndarray: list[str | list[Cell]] = Field(min_length=1, max_length=MOST_TEXTS)


class Prediction(Request):
    """A prediction request: a table of topics, or one topic."""

    meta: Meta = Field(default_factory=Meta)
    data: NdArray | None = None
    strData: str | None = Field(None, min_length=1, max_length=300)  # Seldon's name


class FormerAnswer(Request):
    """The response of /predict. Its metadata identify the rated prediction."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    meta: Meta = Field(default_factory=Meta)


class Feedback(Request):
    """Seldon's feedback: a reward and, optionally, the expected response."""

    request: dict[str, Any] | None = None
    response: FormerAnswer
    reward: float = Field(ge=-1e9, le=1e9, description="0.5 or more counts as approval")
    truth: dict[str, Any] | None = None
