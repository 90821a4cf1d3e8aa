"""The server that writes articles."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from textmill.settings.group import Settings


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
    keep_models: int = Field(
        2,
        ge=0,
        description="bundles that stay in data_dir/models besides those in use and the one that was served before; older ones are deleted",
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
