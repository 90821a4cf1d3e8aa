"""Seldon's prediction protocol, version 1 (docs.seldon.io, "Seldon protocol"), as far as text needs it."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from serving.interface.schemas import MOST_TEXTS, Request

Puid = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Cell = str | int | float | bool | None


class Meta(Request):
    """Seldon's metadata; what is not named here is taken and ignored, as Seldon's own servers do."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    puid: Puid | None = Field(None, description="the prediction's id; made where it is left out")
    tags: dict[str, Any] = Field(default_factory=dict)


class NdArray(Request):
    """A table: one article for each row."""

    names: list[str] = Field(
        default_factory=list, max_length=16, description="the columns: topic and any setting of POST /v1/articles"
    )
    ndarray: list[str | list[Cell]] = Field(min_length=1, max_length=MOST_TEXTS)


class Prediction(Request):
    """Topics in: a table, or one text."""

    meta: Meta = Field(default_factory=Meta)
    data: NdArray | None = None
    strData: str | None = Field(None, min_length=1, max_length=300)  # Seldon's name


class FormerAnswer(Request):
    """What /predict had answered; its metadata say what is rated."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    meta: Meta = Field(default_factory=Meta)


class Feedback(Request):
    """Seldon's feedback: a reward, and perhaps what should have been answered."""

    request: dict[str, Any] | None = None
    response: FormerAnswer
    reward: float = Field(ge=-1e9, le=1e9, description="0.5 and more counts as approval")
    truth: dict[str, Any] | None = None
