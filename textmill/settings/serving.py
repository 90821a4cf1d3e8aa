"""Settings of the server that generates articles."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from textmill.ground.errors import UserError
from textmill.settings.group import Settings

STAGES = ("Production", "Staging", "Archived")  # whose version can be served
_VERSION = "version:"


def target_of(label: str) -> tuple[str, str, int | None]:
    """The model's name, stage and version number that a target names; empty or None where it does not.

    Targets are `Staging` and `version:7`, or either with another model's name: `name@Staging`.

    Raises:
        ValueError: it has none of these forms.
    """
    name, separator, what = label.rpartition("@")
    if what.startswith(_VERSION) and what.removeprefix(_VERSION).isdecimal():
        return name, "", int(what.removeprefix(_VERSION))
    if what in STAGES and (name or not separator):
        return name, what, None
    known = {stage.lower(): stage for stage in STAGES}
    near = [known[each] for each in difflib.get_close_matches(what.lower(), known, n=1)]
    cure = f"did you mean '{near[0]}'?" if near else "write Production, Staging, version:7 or NAME@Production"
    raise ValueError(f"'{label}' is not a valid target; {cure}")


class Serve(Settings):
    """The server that generates articles."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 opens it to the network")
    hosts: list[str] = Field(
        [],
        description="host names that requests may use, without port, such as mill.example; empty: any, or localhost alone if host is 127.0.0.1; '*': any",
    )
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    stage: Literal["Production", "Staging"] = Field("Production", description="the stage whose version is served")
    slots: int = Field(8, ge=1, le=256, description="texts generated at the same time; further requests wait")
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads for generation; 0: all cores, or 1 if the model is too small to gain from more",
    )
    max_tokens: int = Field(400, ge=1, description="maximum tokens per article")
    deadline_s: float = Field(300, gt=0, description="maximum seconds per text, unless the request sets its own")
    workers: int = Field(1, ge=1, le=256, description="generation processes on the CPU; they share the threads")
    devices: list[int | str] = Field([], description="GPUs to generate on, by number, one process each; empty: the CPU")
    worker_urls: list[str] = Field(
        [],
        description="addresses of remote workers with OpenAI's API, such as 'vllm serve'; if set, no local worker starts; 'dns:http://NAME:PORT' means all addresses of that name",
    )
    engine: Literal["onnxruntime", "ctranslate2"] = Field(
        "onnxruntime",
        description="inference engine; ctranslate2 supports older GPUs that ONNX Runtime has dropped, such as a GTX 1060, and needs the package ctranslate2",
    )
    precision: Literal["auto", "float32", "float16", "int8", "int4"] = Field(
        "auto", description="precision of the weights; auto: as evaluated on CPUs, float16 on GPUs"
    )
    split: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        {},
        description="traffic weights, such as {Production: 95, Staging: 5}; keys may also be 'version:7' or 'othermodel@Production'; empty: all traffic to stage",
    )
    shadow: str = Field("", description="stage or version that also gets a copy of requests, for comparison only")
    shadow_percent: float = Field(10, gt=0, le=100, description="percent of the requests copied to shadow")
    follow_s: float = Field(5, ge=0.2, le=3600, description="seconds between checks for a newly promoted version")
    connections: int = Field(
        1000, ge=1, description="open connections at most; a new one then closes the one without a request for longest"
    )
    receive_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="seconds in which a request's headers and body must arrive; then its connection is closed",
    )
    grace_s: float = Field(
        25, ge=0, le=3600, description="seconds that texts under way get to end after SIGTERM; then they are errors"
    )
    drain_s: float = Field(120, ge=0, description="seconds a replaced version gets to finish its texts")
    keep_models: int = Field(
        2,
        ge=0,
        description="bundles kept in data_dir/models besides those in use and the one served before; older ones are deleted",
    )
    templates: Path | None = Field(None, description="folder of additional article templates, one NAME.txt each")
    topics: list[Annotated[str, Field(min_length=1, max_length=300)]] = Field(
        ["A day to remember", "How to begin", "What is new this year"],
        description="example topics on the web page; choose some that fit your sites",
    )
    verbatim: Literal["ignore", "warn", "regenerate", "refuse"] = Field(
        "warn",
        description="action if an article repeats a training text word for word; warn: name the passage and its source; regenerate: try again, then refuse; refuse: stop before the passage; ignore: no check",
    )
    verbatim_words: int = Field(30, ge=5, description="consecutive words that count as a repeated passage")
    keys_file: Path | None = Field(
        None,
        description="file of API keys, one 'name:hash' per line as 'textmill key NAME' prints it; empty: no key is required, unless TEXTMILL_API_KEYS_FILE names a file",
    )
    requests_per_minute: int = Field(0, ge=0, description="requests per minute allowed for each API key; 0: no limit")
    cors: list[str] = Field(
        [], description="origins whose pages may call this server from a browser, such as https://news.example"
    )
    log_prompts: bool = Field(False, description="write topics and prompts to the log; they may contain personal data")

    @field_validator("split")
    @classmethod
    def _split_names_targets(cls, split: dict[str, float]) -> dict[str, float]:
        for label in split:
            target_of(label)
        return split

    @field_validator("shadow")
    @classmethod
    def _shadow_names_a_target(cls, shadow: str) -> str:
        if shadow:
            target_of(shadow)
        return shadow


def with_options(serve: Serve, given: Mapping[str, object]) -> Serve:
    """The settings, with the command line's values in place of the file's.

    Raises:
        UserError: a value is not valid.
    """
    try:
        return Serve.model_validate(serve.model_dump() | dict(given))
    except ValidationError as error:
        problem = error.errors()[0]
        option, message = str(problem["loc"][0]).replace("_", "-"), problem["msg"]
        raise UserError(
            f"--{option}: {problem['input']!r} is not valid: {message[0].lower()}{message[1:]}; "
            "see 'textmill serve --help'."
        ) from None
