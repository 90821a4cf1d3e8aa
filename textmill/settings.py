"""Every setting with its name, unit, default and meaning, in groups; `textmill.config` reads them from a file.

`textmill init` writes these descriptions as comments, so this file is where a setting is documented.
"""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from textmill.gpt2.architecture import OLD_NAMES, SIZES, Architecture, of_size

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Settings(BaseModel):
    """A group of settings: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Settings):
    """One web site to learn from."""

    name: Name = Field(description="short name of the site, kept with each of its articles")
    start: str = Field(
        pattern=r"^https?://",
        description="URL to start from: a page whose links are followed, an RSS or Atom feed, or a sitemap",
    )
    include: list[str] = Field(
        [], description="regular expressions; where given, only URLs that match one are taken as articles"
    )
    exclude: list[str] = Field([], description="regular expressions; URLs that match one are never fetched")
    max_pages: int = Field(
        5000, ge=1, description="pages fetched in one crawl, at most; a wrong pattern should not fetch for days"
    )
    depth: int = Field(
        20, ge=1, description="links followed from the start, at most; listings with paging need one step a page"
    )

    @field_validator("start")
    @classmethod
    def _start_names_ahost_of(cls, start: str) -> str:
        if host_of(start) is None:
            raise ValueError(f"'{start}' is not the URL of a web site")
        return start


class Crawl(Settings):
    """How politely and how widely the spiders fetch."""

    delay_s: float = Field(
        0.25, ge=0, description="seconds between two requests to one site; robots.txt may ask for more"
    )
    concurrency: int = Field(4, ge=1, le=32, description="requests under way at once to one site")
    page_bytes: int = Field(5_000_000, ge=1000, description="bytes of a page, at most; a longer one is refused")
    min_words: int = Field(
        60, ge=1, description="words of an article, at least; shorter pages are listings and notices"
    )
    user_agent: str = Field(
        "Textmill/0.1",
        description="how the crawler names itself; put an address here where you can be reached",
    )


class Corpus(Settings):
    """Which stored articles are learned from."""

    sources: list[Name] = Field([], description="names of the sources to learn from; empty: all of them")
    languages: list[str] = Field([], description="two-letter codes; empty: every language")
    eval_percent: float = Field(
        10.0,
        gt=0,
        lt=50,
        description="share of the articles, in percent, held out to judge the model; chosen by each article's key, so an article never moves",
    )


class TokenizerSettings(Settings):
    """How text becomes numbers."""

    kind: Literal["bpe", "characters"] = Field(
        "bpe",
        description="bpe: byte pairs, trained on the corpus as GPT-2's were on its own; characters: one token a character",
    )
    vocabulary: int = Field(
        2048, ge=257, le=100_000, description="tokens of a bpe trained on the corpus; small corpora want few"
    )


class Model(Settings):
    """The model's shape."""

    size: Literal["custom", "124M", "355M", "774M", "1558M", "117M", "345M"] = Field(
        "custom", description="one of OpenAI's sizes, or custom: the four numbers below"
    )
    base: str = Field("scratch", description="what training starts from; scratch: random weights")
    layers: int = Field(4, ge=1, description="transformer layers (custom size)")
    heads: int = Field(4, ge=1, description="attention heads (custom size); divides width")
    width: int = Field(128, ge=8, description="width of the residual stream (custom size)")
    window: int = Field(
        128, ge=8, le=1024, description="tokens the model sees at once; GPT-2's own positions end at 1024"
    )

    @model_validator(mode="after")
    def _base_is_scratch(self) -> "Model":
        if self.base != "scratch":
            raise ValueError(f"base: '{self.base}' cannot be used yet; this version trains from scratch")
        return self

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Model":
        if self.size == "custom" and self.width % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide width: {self.width}")
        return self

    def architecture(self, vocabulary: int) -> Architecture:
        """The architecture these settings describe, for a tokenizer of this many tokens."""
        if self.size in SIZES or self.size in OLD_NAMES:
            return of_size(self.size, vocabulary, self.window)
        return Architecture(vocabulary, self.window, self.layers, self.heads, self.width)


class Train(Settings):
    """The training loop."""

    steps: int = Field(600, ge=1, description="optimiser steps")
    batch: int = Field(16, ge=1, description="windows in one step")
    learning_rate: float = Field(
        1e-3, gt=0, description="at its peak, after warm-up; 1e-4 or less when fine-tuning a large base"
    )
    final_learning_rate: float = Field(1e-4, ge=0, description="at the last step, after a cosine fall")
    warmup_steps: int = Field(50, ge=0, description="steps in which the learning rate rises from zero")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's, on matrices only")
    beta_2: float = Field(0.99, gt=0, lt=1, description="AdamW's second-moment decay")
    clip_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this global norm")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations dropped while training")
    seed: int = Field(1, ge=0, description="of weights, dropout and the order of windows")
    eval_every: int = Field(100, ge=1, description="steps between two looks at the held-out loss")
    sample_every: int = Field(200, ge=1, description="steps between two sample texts")
    checkpoint_every_s: float = Field(
        60, gt=0, description="seconds between two checkpoints; a killed training loses no more"
    )
    checkpoint_dir: str | None = Field(
        None, description="folder for checkpoints of trainings under way; empty: inside data_dir"
    )


class Evaluate(Settings):
    """When a model is good enough."""

    margin_percent: float = Field(
        0.5,
        ge=0,
        description="how much lower, in percent, its bits per byte must be than Production's (or, before there is one, an untrained model's)",
    )
    samples: int = Field(4, ge=1, le=64, description="sample texts written for the reviewer")
    sample_tokens: int = Field(120, ge=8, description="tokens in each sample text")


class Registry(Settings):
    """What happens to a model that passed."""

    promote: Literal["by-reviewer", "if-better"] = Field(
        "by-reviewer",
        description="by-reviewer: a passed version waits in Staging; if-better: it goes to Production at once",
    )


class Serve(Settings):
    """The server that writes articles."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 opens it to the network")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    stage: Literal["Production", "Staging"] = Field("Production", description="the stage whose version is served")
    slots: int = Field(8, ge=1, le=256, description="texts written at the same time; others wait")
    threads: int = Field(
        0, ge=0, description="CPU threads for generation; 0: all cores, or one for a model too small to gain by more"
    )
    max_tokens: int = Field(400, ge=1, description="tokens of one article, at most")


class Store(Settings):
    """The article store. Its address and password come from TEXTMILL_MONGODB_URI, or from 'textmill up'."""

    database: str = Field("textmill", description="name of the MongoDB database")


class Beam(Settings):
    """How Apache Beam runs ExportArticles and Preprocess."""

    options: list[str] = Field(["--runner=FnApiRunner"], description="Beam's pipeline options, one '--name=value' each")


class Config(Settings):
    """Everything one model needs, from its sites to its server."""

    name: Name = Field(description="name of the model in the registry, and of its pipeline")
    data_dir: Path = Field(
        Path(".textmill"),
        description="folder for everything this machine keeps: servers' data, pipeline runs, logs; relative to this file",
    )
    sources: list[Source] = Field(min_length=1, description="the web sites to learn from")
    store: Store = Field(Store(), description="the article store")
    crawl: Crawl = Field(Crawl(), description="how the spiders fetch")
    corpus: Corpus = Field(Corpus(), description="which articles are learned from")
    tokenizer: TokenizerSettings = Field(TokenizerSettings(), description="how text becomes numbers")
    model: Model = Field(Model(), description="the model's shape")
    train: Train = Field(Train(), description="the training loop")
    evaluate: Evaluate = Field(Evaluate(), description="when a model is good enough")
    registry: Registry = Field(Registry(), description="what happens to a model that passed")
    serve: Serve = Field(Serve(), description="the server")
    beam: Beam = Field(Beam(), description="how Apache Beam runs")

    @model_validator(mode="after")
    def _sources_are_distinct(self) -> "Config":
        names = [source.name for source in self.sources]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"sources: the name '{min(twice)}' stands twice; give each site its own")
        if unknown := set(self.corpus.sources) - set(names):
            raise ValueError(f"corpus.sources: no source is named '{min(unknown)}'")
        return self


def host_of(url: str) -> str | None:
    """The host of a web address, or None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number, or too large a one
        return parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        return None
