"""The article store, which of its articles are learned from, and how their text becomes numbers."""

import re
from datetime import date
from typing import Literal

from pydantic import Field, field_validator, model_validator

from textmill.settings.group import Name, Settings


class Store(Settings):
    """The article store. Its address and password come from TEXTMILL_MONGODB_URI, or from 'textmill up'."""

    database: str = Field("textmill", description="name of the MongoDB database")


class Corpus(Settings):
    """Which stored articles are learned from."""

    sources: list[Name] = Field([], description="names of the sources to learn from; empty: all of them")
    imported: list[Name] = Field(
        [], description="names of the sources to learn from that were brought in with 'textmill import'"
    )
    languages: list[str] = Field([], description="two-letter codes; empty: every language")
    published_from: date | None = Field(
        None, description="day, as 2026-01-31; where given, only articles published on it or later, as their pages say"
    )
    published_before: date | None = Field(
        None, description="day; where given, only articles published before it, as their pages say"
    )
    min_words: int = Field(1, ge=1, description="words of an article, at least")
    max_words: int | None = Field(None, ge=1, description="words of an article, at most; empty: any number")
    near_duplicates: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of five-word phrases that two articles have in common from which only one of them is learned from; 0: only equal texts count",
    )
    cache_bytes: int = Field(
        1_000_000_000,
        ge=0,
        description="bytes of near-duplicate signatures kept from run to run under data_dir/signatures, some 600 an article, so that only new text is signed; 0: none",
    )
    admit: Literal["unreserved", "licensed", "all"] = Field(
        "unreserved",
        description="unreserved: articles whose site reserves no rights (TDMRep, RSL, Content-Signal, noai); licensed: articles with a licence named in licences; all: whatever the site says beyond robots.txt",
    )
    licences: list[str] = Field(
        [], description="regular expressions of licences for admit: licensed, such as 'cc.by'; empty: any licence"
    )
    statistics: bool = Field(
        False,
        description="whether StatisticsGen and ExampleValidator look at the exported articles; needs tensorflow-data-validation",
    )
    eval_percent: float = Field(
        10.0,
        gt=0,
        lt=50,
        description="share of the articles, in percent, held out to judge the model; chosen by each article's key, so an article never moves",
    )
    eval_articles: int = Field(
        20,
        ge=0,
        description="articles held out to judge the model, at least; a corpus of fewer than 100 holds out a fifth, and its verdicts are weak; 0: eval_percent alone decides",
    )
    validation_percent: float = Field(
        10.0,
        gt=0,
        lt=50,
        description="share of the articles, in percent, held out to choose the training's best step by; others than those that judge the model",
    )

    @field_validator("licences")
    @classmethod
    def _licences_are_expressions(cls, licences: list[str]) -> list[str]:
        for licence in licences:
            try:
                re.compile(licence)
            except re.error as error:
                raise ValueError(f"'{licence}' is no regular expression: {error}") from error
        return licences

    @model_validator(mode="after")
    def _bounds_leave_something(self) -> "Corpus":
        if self.published_from and self.published_before and self.published_from >= self.published_before:
            raise ValueError("published_from is not before published_before, so no article fits")
        if self.max_words and self.max_words < self.min_words:
            raise ValueError("max_words is less than min_words, so no article fits")
        return self
