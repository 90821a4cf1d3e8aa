"""Every setting with its name, unit, default and meaning, in groups; `textmill.config` reads them from a file.

`textmill init` writes these descriptions as comments, so this file is where a setting is documented.
"""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from textmill.gpt2.architecture import OLD_NAMES, SIZES, Architecture, of_size

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


_BASE_PREFIXES = ("hf:", "version:", "stage:")  # of bases that are no folder on this machine
_BASE_ELSEWHERE = r"hf:[\w.-]+/[\w.-]+(@[\w./-]+)?|version:[1-9]\d*|stage:(Production|Staging|Archived)"


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
    hosts: list[str] = Field(
        [],
        description="further hosts, such as news.example or 10.0.0.5:8080, whose pages belong to this source; a feed may stand on another host than its articles",
    )
    title_selector: str = Field(
        "", description="CSS selector of the title; empty: found without one, as for most sites"
    )
    text_selector: str = Field(
        "", description="CSS selector of the elements that hold the article's text; empty: found without one"
    )
    author_selector: str = Field("", description="CSS selector of the author; empty: found without one")
    date_selector: str = Field(
        "", description="CSS selector of the date, in its text, 'datetime' or 'content'; empty: found without one"
    )
    language: str = Field(
        "", pattern=r"^([a-z]{2})?$", description="two-letter code for pages that do not say their language"
    )
    licence: str = Field("", description="licence of the site's texts, for pages that do not name theirs")

    @field_validator("start")
    @classmethod
    def _start_names_ahost_of(cls, start: str) -> str:
        if host_of(start) is None:
            raise ValueError(f"'{start}' is not the URL of a web site")
        return start


class Crawl(Settings):
    """How politely and how widely the spiders fetch."""

    delay_s: float = Field(
        0.25,
        ge=0,
        description="seconds between two requests to one site, at least; a site that answers slowly, or whose robots.txt asks for it, gets more; 0: a site of one's own, asked as fast as it answers",
    )
    concurrency: int = Field(4, ge=1, le=32, description="requests under way at once to one site")
    sites: int = Field(8, ge=1, le=256, description="sites crawled at once; sources on one site take turns")
    page_bytes: int = Field(5_000_000, ge=1000, description="bytes of a page, at most; a longer one is refused")
    min_words: int = Field(
        60, ge=1, description="words of an article, at least; shorter pages are listings and notices"
    )
    retries: int = Field(
        2, ge=0, description="times that a page is asked for again where a site or the way to it fails"
    )
    full_days: int = Field(
        30,
        ge=1,
        description="days after which an article is fetched in full again, though the site says that it has not changed",
    )
    processes: int | None = Field(
        None,
        ge=0,
        description="processes that take the articles from pages; 0: the crawl does it itself; empty: one less than there are cores, once there are some hundred pages",
    )
    user_agent: str = Field(
        "Textmill/0.1",
        description="how the crawler names itself; put an address here where you can be reached",
    )


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


class TokenizerSettings(Settings):
    """How text becomes numbers."""

    kind: Literal["bpe", "characters", "base"] = Field(
        "bpe",
        description="bpe: byte pairs, trained on the corpus as GPT-2's were on its own; characters: one token a character; base: that of model.base, which is taken in any case where there is one",
    )
    vocabulary: int = Field(
        2048, ge=257, le=100_000, description="tokens of a bpe trained on the corpus; small corpora want few"
    )
    cache_bytes: int = Field(
        4_000_000_000,
        ge=0,
        description="bytes of tokens kept from run to run, so that only new text is tokenised; 0: none",
    )
    cache_dir: str = Field("", description="folder for them; empty: 'tokens' under data_dir")


class Model(Settings):
    """The model's shape."""

    size: Literal["custom", "124M", "355M", "774M", "1558M", "117M", "345M"] = Field(
        "custom", description="one of OpenAI's sizes, or custom: the four numbers below"
    )
    base: str = Field(
        "scratch",
        description="what training starts from: scratch (random weights); 124M, 355M, 774M or 1558M (OpenAI's, downloaded once); a folder, such as checkpoint/run1, relative to this file; hf:OWNER/NAME; version:7 or stage:Production (of this model); a base brings its own sizes and tokenizer",
    )
    layers: int = Field(4, ge=1, description="transformer layers (custom size)")
    heads: int = Field(4, ge=1, description="attention heads (custom size); divides width")
    width: int = Field(128, ge=8, description="width of the residual stream (custom size)")
    window: int = Field(
        128,
        ge=8,
        le=8192,
        description="tokens the model sees at once; GPT-2's own positions end at 1024; with a base: all of its positions, unless fewer are set here",
    )

    quantise: Literal["none", "float16", "int8", "int4"] = Field(
        "int8",
        description="how the finished weights are rounded for judging and serving on CPUs: eight bits, four, float16, or not at all; all but the last can be served on GPUs, in float16",
    )

    @field_validator("base")
    @classmethod
    def _base_is_spelled_right(cls, base: str) -> str:
        if not base or (base.startswith(_BASE_PREFIXES) and not re.fullmatch(_BASE_ELSEWHERE, base)):
            raise ValueError(
                f"'{base}' is no base; write hf:OWNER/NAME, version:7, stage:Production, a size or a folder"
            )
        return base

    @property
    def base_is_folder(self) -> bool:
        """Whether the base is a folder on this machine that the user named."""
        known = self.base in ("scratch", *SIZES, *OLD_NAMES)
        return not known and not self.base.startswith(_BASE_PREFIXES)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Model":
        if self.size == "custom" and self.width % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide width: {self.width}")
        if self.size == "custom" and self.width // self.heads % 8:
            raise ValueError(
                f"each of the {self.heads} heads would be {self.width // self.heads} wide, and serving wants a multiple of 8; "
                f"make width a multiple of {8 * self.heads}"
            )
        return self

    def architecture(self, vocabulary: int) -> Architecture:
        """The architecture these settings describe, for a tokenizer of this many tokens."""
        if self.size in SIZES or self.size in OLD_NAMES:
            return of_size(self.size, vocabulary, self.window)
        return Architecture(vocabulary, self.window, self.layers, self.heads, self.width)


class Train(Settings):
    """The training loop."""

    steps: int = Field(600, ge=1, description="optimiser steps")
    batch: int | Literal["auto"] = Field(
        16, description="windows in one pass; auto: as many as fit into memory, 64 at most"
    )
    memory: float | None = Field(
        None, gt=0, description="gigabytes that the training may use; empty: what is free on the device when it starts"
    )
    learning_rate: float = Field(
        1e-3, gt=0, description="at its peak, after warm-up; 1e-4 or less when fine-tuning a large base"
    )
    final_learning_rate: float = Field(1e-4, ge=0, description="at the last step, after a cosine fall")
    warmup_steps: int = Field(50, ge=0, description="steps in which the learning rate rises from zero")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's, on matrices only")
    beta_2: float = Field(0.99, gt=0, lt=1, description="AdamW's second-moment decay")
    clip_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this global norm")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations dropped while training")
    accumulate: int = Field(
        1, ge=1, description="passes of `batch` windows added up into one step; as one batch so many times as large"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of matrix products; weights and sums stay float32, float16 has its loss scaled"
    )
    lora_rank: int = Field(
        0, ge=0, description="rank of the matrices trained beside frozen weights (LoRA); 0: all weights are trained"
    )
    lora_alpha: float = Field(
        0, ge=0, description="what they add is scaled by lora_alpha / lora_rank; 0: as lora_rank, which scales by 1"
    )
    recompute: bool = Field(
        False, description="compute each layer's activations again in the backward pass: less memory, a third more time"
    )
    devices: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        1, description="GPUs (or, without any, CPU devices) of this machine that share each batch; all: every one"
    )
    backend: Literal["tensorflow", "jax"] = Field("tensorflow", description="the library that Keras computes with")
    seed: int = Field(1, ge=0, description="of weights, dropout and the order of windows")
    eval_every: int = Field(100, ge=1, description="steps between two looks at the held-out loss")
    patience: int = Field(
        5, ge=0, description="looks at the held-out loss without a better one before training stops early; 0: never"
    )
    sample_every: int = Field(200, ge=1, description="steps between two sample texts")
    checkpoint_every_s: float = Field(
        60, gt=0, description="seconds between two checkpoints; a killed training loses no more"
    )
    checkpoint_every: int = Field(0, ge=0, description="steps between two checkpoints as well; 0: by time alone")
    keep_checkpoints: int = Field(
        3,
        ge=1,
        description="finished trainings whose best weights stay in checkpoint_dir; one that can go on always stays",
    )
    checkpoint_dir: str | None = Field(
        None, description="folder for checkpoints of trainings under way; empty: inside data_dir"
    )

    @field_validator("batch", mode="plain")
    @classmethod
    def _batch_is_a_number_or_auto(cls, batch: object) -> object:
        if batch == "auto" or (type(batch) is int and batch >= 1):
            return batch
        raise ValueError(f"{batch!r} is neither a whole number above 0 nor 'auto'")


class Evaluate(Settings):
    """When a model is good enough."""

    margin_percent: float = Field(
        0.5,
        ge=0,
        description="how much lower, in percent, its bits per byte must be than Production's (or, before there is one, its base's or an untrained model's)",
    )
    max_copied_percent: float = Field(
        5.0,
        ge=0,
        le=100,
        description="share, in percent, of the passages of 30 tokens it writes that may stand word for word in the training text",
    )
    canaries: list[Annotated[str, StringConstraints(min_length=8)]] = Field(
        [],
        description="strings that the model must not know: given the first half of one, it must not write the second",
    )
    samples: int = Field(4, ge=1, le=64, description="sample texts shown to the reviewer")
    sample_tokens: int = Field(120, ge=8, description="tokens in each sample text")
    texts: int = Field(
        16, ge=1, le=1000, description="texts written to measure copying and repetition by, the samples among them"
    )
    probes: int = Field(
        100,
        ge=0,
        description="passages of the training text, whose first 20 tokens the model is given: does it know the rest?",
    )


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
    deadline_s: float = Field(
        300, gt=0, description="seconds in which a text must be whole, where the request does not say"
    )
    workers: int = Field(
        1, ge=1, le=256, description="generation processes on the CPU, which divide its threads among themselves"
    )
    devices: list[int | str] = Field(
        [], description="numbers of the GPUs to generate on, one process each; empty: the CPU"
    )
    worker_urls: list[str] = Field(
        [],
        description="addresses of workers that run elsewhere and speak OpenAI's protocol, such as 'vllm serve'; where given, none is started here; 'dns:http://NAME:PORT' stands for all addresses of a name",
    )
    engine: Literal["onnxruntime", "ctranslate2"] = Field(
        "onnxruntime",
        description="what generates; ctranslate2 is for GPUs that ONNX Runtime no longer knows, such as a GTX 1060, and needs the package of that name",
    )
    precision: Literal["auto", "float32", "float16", "int8", "int4"] = Field(
        "auto", description="of the weights that generate; auto: the one that the model was judged in, on GPUs float16"
    )
    split: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        {},
        description="shares of the traffic, such as {Production: 95, Staging: 5}; also 'version:7' and 'othermodel@Production'; empty: all to the stage",
    )
    shadow: str = Field("", description="a stage or version that writes copies of requests for comparison only")
    shadow_percent: float = Field(10, gt=0, le=100, description="share of the requests, in percent, that it gets")
    follow_s: float = Field(
        5, ge=0.2, le=3600, description="seconds between two looks whether another version was promoted"
    )
    drain_s: float = Field(
        120, ge=0, description="seconds that a replaced version has to finish the texts it has begun"
    )
    templates: Path | None = Field(
        None, description="folder of templates for articles, one NAME.txt each, beside those that come with Textmill"
    )
    verbatim: Literal["ignore", "warn", "regenerate", "refuse"] = Field(
        "warn",
        description="what to do where an article repeats a training text word for word: warn: name the passage and its source; regenerate: write again, then refuse; refuse: end before it; ignore: do not look",
    )
    verbatim_words: int = Field(30, ge=5, description="words in a row that count as repeated")
    keys_file: Path | None = Field(
        None,
        description="file of API keys, one 'name:hash' a line as 'textmill key NAME' prints it; empty: no key is asked for. TEXTMILL_API_KEYS_FILE names one too",
    )
    requests_per_minute: int = Field(
        0, ge=0, description="requests that one API key may make in a minute; 0: any number"
    )
    cors: list[str] = Field(
        [], description="origins such as https://news.example whose pages may ask this server from a browser"
    )
    log_prompts: bool = Field(False, description="write topics and prompts into the log; they may be personal")


class Store(Settings):
    """The article store. Its address and password come from TEXTMILL_MONGODB_URI, or from 'textmill up'."""

    database: str = Field("textmill", description="name of the MongoDB database")


class Beam(Settings):
    """How Apache Beam runs ExportArticles and Preprocess."""

    options: list[str] = Field(["--runner=FnApiRunner"], description="Beam's pipeline options, one '--name=value' each")


class Kubeflow(Settings):
    """Where and how Kubeflow Pipelines runs the steps."""

    host: str = Field(
        "",
        description="address of Kubeflow Pipelines, such as http://localhost:8080; its token comes from KF_PIPELINES_TOKEN",
    )
    namespace: str = Field("", description="namespace of a Kubeflow for several users; empty: for one")
    image: str = Field(
        "",
        description="container image of every step, by digest: registry.example/textmill@sha256:...; a tag could move under a run",
    )
    root: str = Field(
        "minio://mlpipeline/v2/artifacts/textmill",
        pattern=r"^(minio|s3|gs)://[^/]",
        description="folder for artifacts: minio://, s3:// or gs://, a bucket and a path",
    )
    secret: str = Field(
        "textmill",
        description="Kubernetes secret whose keys TEXTMILL_MONGODB_URI and MLFLOW_TRACKING_URI hold the addresses, passwords included",
    )
    volume: str = Field(
        "textmill-checkpoints",
        description="volume claim that outlives a step: checkpoints of trainings under way, and bases that were fetched",
    )
    gpus: int = Field(0, ge=0, description="GPUs that FineTune asks for")
    cpu: str = Field(
        "2", pattern=r"^\d+(\.\d+)?m?$", description="CPU cores that FineTune asks for, as Kubernetes writes them"
    )
    memory: str = Field(
        "8Gi",
        pattern=r"^\d+(Ki|Mi|Gi|Ti|K|M|G|T)?$",
        description="memory that FineTune asks for, as Kubernetes writes it",
    )

    @field_validator("image")
    @classmethod
    def _image_is_named_by_digest(cls, image: str) -> str:
        if image and not re.search(r"[^@]@sha256:[0-9a-f]{64}$", image):
            raise ValueError(
                f"'{image}' names no digest; write NAME@sha256:..., which 'docker inspect --format {{{{.RepoDigests}}}} {image}' shows"
            )
        return image


class Watch(Settings):
    """When 'textmill watch' trains and deploys."""

    every_s: float = Field(300, gt=0, description="seconds between two looks")
    on_start: bool = Field(False, description="train when watching starts and there is no version yet")
    new_articles: int = Field(
        100,
        ge=0,
        description="new or changed articles since the last training that are worth another; 0: never by number",
    )
    at_most_days: float = Field(
        7, ge=0, description="days after the last training that another is due; 0: never by time"
    )
    approval_percent: float = Field(
        0,
        ge=0,
        le=100,
        description="share of good ratings, in percent, below which the served version is trained anew; 0: not asked",
    )
    ratings: int = Field(20, ge=1, description="ratings of the served version before they count")
    drift_percent: float = Field(
        5,
        ge=0,
        description="how much higher, in percent, the served version's bits per byte on newly crawled articles may be than its baseline; 0: not asked",
    )
    drift_articles: int = Field(
        20,
        ge=1,
        description="newly crawled articles before their bits per byte count, and at most five times as many are read",
    )
    again_percent: float = Field(
        80,
        ge=0,
        lt=100,
        description="an alarm that went off is armed again when its figure is back below this share, in percent, of its bound",
    )
    cooldown_hours: float = Field(
        24, ge=0, description="hours after a training that watching started before approval or drift may start another"
    )
    runner: Literal["local", "beam", "kubeflow"] = Field(
        "local", description="what runs the pipeline, as in 'textmill run'"
    )
    deploy: Literal["ask", "if-better"] = Field(
        "ask", description="ask: say which version in Staging is better and wait for a reviewer; if-better: promote it"
    )


class Config(Settings):
    """Everything one model needs, from its sites to its server."""

    name: Name = Field(description="name of the model in the registry, and of its pipeline")
    data_dir: Path = Field(
        Path(".textmill"),
        description="folder for everything this machine keeps: servers' data, pipeline runs, logs; relative to this file",
    )
    sources: list[Source] = Field([], description="the web sites to learn from")
    text: Path | None = Field(
        None, description="plain text file that 'textmill train' learns from, instead of sites; relative to this file"
    )
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
    kubeflow: Kubeflow = Field(Kubeflow(), description="where Kubeflow Pipelines runs the steps")
    watch: Watch = Field(Watch(), description="when to train and deploy without being asked")

    @property
    def tokenizer_kind(self) -> str:
        """`tokenizer.kind`, which is `base` wherever there is one."""
        return self.tokenizer.kind if self.model.base == "scratch" else "base"

    @model_validator(mode="after")
    def _tokenizer_fits_the_base(self) -> "Config":
        kind, base = self.tokenizer.kind, self.model.base
        if base == "scratch" and kind == "base":
            raise ValueError("tokenizer.kind: 'base' needs a base; set model.base, or remove tokenizer.kind")
        if base != "scratch" and kind != "base" and "kind" in self.tokenizer.model_fields_set:
            raise ValueError(
                f"tokenizer.kind: '{kind}' contradicts model.base: '{base}', which brings its own tokenizer; "
                "remove tokenizer.kind"
            )
        return self

    @model_validator(mode="after")
    def _learns_from_something(self) -> "Config":
        if not self.sources and self.text is None:
            raise ValueError("'sources' is missing; name the web sites to learn from, or set text to a file")
        return self

    @model_validator(mode="after")
    def _sources_are_distinct(self) -> "Config":
        names = [source.name for source in self.sources]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"sources: the name '{min(twice)}' stands twice; give each site its own")
        if unknown := set(self.corpus.sources) - set(names) - set(self.corpus.imported):
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
