"""Settings of the article store and of which articles to train on."""

import re
from datetime import date
from typing import Literal

from pydantic import Field, field_validator, model_validator

from textmill.settings.group import Name, Settings


class Store(Settings):
    """The article store. Its address and password come from TEXTMILL_MONGODB_URI, or from 'textmill up'."""

    database: str = Field("textmill", description="name of the MongoDB database")


class Corpus(Settings):
    """Which stored articles to train on."""

    sources: list[Name] = Field([], description="sources to train on, by name; empty: all")
    imported: list[Name] = Field([], description="sources to train on that 'textmill import' brought in, by name")
    languages: list[str] = Field([], description="languages to train on, as two-letter codes; empty: all")
    published_from: date | None = Field(
        None,
        description="first day, such as 2026-01-31; only articles dated on or after it by their pages; empty: no limit",
    )
    published_before: date | None = Field(
        None, description="end day, not included; only articles dated before it by their pages; empty: no limit"
    )
    min_words: int = Field(1, ge=1, description="minimum words per article")
    max_words: int | None = Field(None, ge=1, description="maximum words per article; empty: no limit")
    near_duplicates: float = Field(
        0.8,
        ge=0,
        le=1,
        description="articles sharing at least this fraction of five-word phrases count as duplicates; one is kept; 0: only identical texts count",
    )
    cache_bytes: int = Field(
        1_000_000_000,
        ge=0,
        description="bytes of near-duplicate signatures cached under data_dir/signatures, about 600 per article, so that only new text is signed; 0: no cache",
    )
    admit: Literal["unreserved", "licensed", "all"] = Field(
        "unreserved",
        description="unreserved: articles whose site reserves no rights (TDMRep, RSL, Content-Signal, Content-Usage, noai, robots.txt groups such as GPTBot's, JSON-LD isAccessibleForFree false); licensed: articles whose licence matches licences; all: every article that robots.txt allows",
    )
    licences: list[str] = Field(
        [],
        description="regular expressions of the licences accepted by admit: licensed, such as 'cc.by'; empty: any licence",
    )
    statistics: bool = Field(
        False,
        description="run StatisticsGen and ExampleValidator on the exported articles; needs tensorflow-data-validation",
    )
    eval_percent: float = Field(
        10.0,
        gt=0,
        lt=50,
        description="percent of the articles held out to evaluate the model; chosen by each article's key, so an article never changes split",
    )
    eval_articles: int = Field(
        20,
        ge=0,
        description="minimum articles held out to evaluate the model; a corpus of fewer than 100 articles holds out a fifth, and its verdicts are weak; 0: no minimum",
    )
    validation_percent: float = Field(
        10.0,
        gt=0,
        lt=50,
        description="percent of the articles held out to choose the best training step; separate from those that evaluate the model",
    )

    @field_validator("licences")
    @classmethod
    def _licences_are_expressions(cls, licences: list[str]) -> list[str]:
        for licence in licences:
            try:
                re.compile(licence)
            except re.error as error:
                raise ValueError(f"'{licence}' is not a valid regular expression: {error}") from error
        return licences

    @model_validator(mode="after")
    def _bounds_leave_something(self) -> "Corpus":
        if self.published_from and self.published_before and self.published_from >= self.published_before:
            raise ValueError("published_from is not before published_before, so no article fits")
        if self.max_words and self.max_words < self.min_words:
            raise ValueError("max_words is less than min_words, so no article fits")
        return self
