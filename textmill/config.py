"""One YAML file becomes one validated Config; every setting has its name, unit, default and meaning here.

`textmill init` writes these descriptions as comments, so this file is where a setting is documented.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from textmill.errors import UserError
from textmill.files import write_beside
from textmill.gpt2.architecture import OLD_NAMES, SIZES, Architecture, of_size

DEFAULT_FILE = Path("textmill.yaml")
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
    def _start_names_a_host(cls, start: str) -> str:
        if _host(start) is None:
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


def load(path: Path = DEFAULT_FILE) -> Config:
    """Read and validate one YAML file; `data_dir` becomes absolute, from the file's own folder.

    Raises:
        UserError: the file is absent, is not YAML, or a key or value is wrong; the line and the cure are named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"There is no configuration at {path}; write one with 'textmill init URL'.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text ({error}); check the file.") from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it could not be parsed"
        raise UserError(f"{path}{line} is not valid YAML: {problem}; check the indentation and the colons.") from None
    if tree is None or not isinstance(values, dict):
        raise UserError(f"{path} holds no settings; write a fresh one with 'textmill init URL'.")
    # a group whose every setting is still a comment reads as null: it has its defaults
    values = {key: value for key, value in values.items() if value is not None}
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise UserError(_sentence(path, tree, error)) from None
    return _with_absolute_folders(config, path.absolute().parent)


def _with_absolute_folders(config: Config, base: Path) -> Config:
    """Folders are meant from the configuration's own folder, wherever a command is typed."""
    update: dict[str, object] = {"data_dir": (base / config.data_dir).resolve()}
    if config.train.checkpoint_dir:
        folder = str((base / config.train.checkpoint_dir).resolve())
        update["train"] = config.train.model_copy(update={"checkpoint_dir": folder})
    return config.model_copy(update=update)


def _sentence(path: Path, tree: yaml.Node, error: ValidationError) -> str:
    """The first problem of a validation, in one sentence with its line."""
    problem = error.errors()[0]
    location = problem["loc"]
    where = f"{path} line {_line(tree, location)}"
    name = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        known = list(_group_at(location[:-1]).model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        cure = f"did you mean '{near[0]}'?" if near else f"known here are: {', '.join(known)}."
        return f"{where}: '{name}' is not a setting; {cure}"
    if problem["type"] == "missing":
        return f"{where}: '{name}' is missing; {_group_at(location[:-1]).model_fields[str(location[-1])].description}."
    message = problem["msg"].removeprefix("Value error, ")
    if not name:
        return f"{where}: {message}."
    if problem["type"] == "value_error":
        return f"{where}: {name}: {message}."
    return f"{where}: {name}: {problem['input']!r} does not fit: {message[0].lower()}{message[1:]}."


def _group_at(location: tuple[int | str, ...]) -> type[Settings]:
    group: type[Settings] = Config
    for part in location:
        if isinstance(part, str):
            annotation = group.model_fields[part].annotation
            group = get_args(annotation)[0] if get_origin(annotation) is list else annotation  # type: ignore[assignment]
    return group


def _line(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """The line, from 1, of the deepest part of the location that the file has."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def write_template(path: Path, start: str, name: str = "") -> str:
    """Write a commented configuration for one site and return the model's name, by default the site's host name.

    Raises:
        UserError: the file exists, or the URL or the name will not do.
    """
    url = start if "://" in start else f"https://{start}"
    if (host := _host(url)) is None:
        raise UserError(f"'{start}' is not the URL of a web site; give one like https://blog.example/.")
    chosen = name or re.sub(r"[^a-z0-9]+", "-", host.removeprefix("www.")).strip("-")
    try:
        TypeAdapter(Name).validate_python(chosen)
    except ValidationError:
        raise UserError(f"'{chosen}' is no name for a model; use lower-case letters, digits and dashes.") from None
    if path.exists():
        raise UserError(f"{path} exists already; change it with an editor, or name another with --config.")
    write_beside(path, template(chosen, url))
    return chosen


def _host(url: str) -> str | None:
    """The host of a web address, or None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number, or too large a one
        return parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        return None


def template(name: str, start: str) -> str:
    """A commented textmill.yaml: what must be set, and every other setting, with its default, as a comment."""
    lines = [
        "# What Textmill learns from, and how. Every setting stands here with its default:",
        "# to change one, remove the '# ' before it.",
        "",
        f"name: {_scalar(name)}  # {Config.model_fields['name'].description}",
        "",
        "sources:",
        f"  - name: {_scalar(name)}  # {Source.model_fields['name'].description}",
        f"    start: {_scalar(start)}  # {Source.model_fields['start'].description}",
        *(_setting(key, field, "    ") for key, field in Source.model_fields.items() if key not in ("name", "start")),
    ]
    for key, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            lines += ["", f"{key}:  # {field.description}"]
            lines += [_setting(inner, each, "  ") for inner, each in field.annotation.model_fields.items()]
        elif key not in ("name", "sources"):
            lines += ["", _setting(key, field, "")]
    return "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    """A value as YAML on one line, quoted where it would otherwise be read as another type."""
    return yaml.safe_dump(value, default_flow_style=True, width=4096).removesuffix("\n...\n").strip()


def _setting(key: str, field: FieldInfo, indent: str) -> str:
    default = str(field.default) if isinstance(field.default, Path) else field.default
    value = _scalar(default)
    return f"{indent}# {key}: {value}  # {field.description}"
