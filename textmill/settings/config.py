"""The whole configuration of one model, in groups.

`textmill init` writes these descriptions as comments: a setting is documented here and nowhere else.
"""

from pathlib import Path

from pydantic import Field, model_validator

from textmill.settings.corpus import Corpus, Store
from textmill.settings.evaluation import Evaluate, Registry
from textmill.settings.group import Name, Settings
from textmill.settings.model import Model
from textmill.settings.pipeline import Beam, Kubeflow
from textmill.settings.serving import Serve
from textmill.settings.sites import Crawl, Source
from textmill.settings.tokenizer import TokenizerSettings
from textmill.settings.training import Train
from textmill.settings.watch import Watch


class Config(Settings):
    """Everything one model needs, from its sites to its server."""

    name: Name = Field(description="name of the model in the registry and of its pipeline")
    data_dir: Path = Field(
        Path(".textmill"),
        description="folder for server data, pipeline runs and logs; relative to this file",
    )
    sources: list[Source] = Field([], description="web sites to train on")
    text: Path | None = Field(
        None, description="plain text file for 'textmill train', used instead of sites; relative to this file"
    )
    store: Store = Field(Store(), description="the article store")
    crawl: Crawl = Field(Crawl(), description="how the spiders fetch")
    corpus: Corpus = Field(Corpus(), description="which articles to train on")
    tokenizer: TokenizerSettings = Field(TokenizerSettings(), description="how text becomes tokens")
    model: Model = Field(Model(), description="the model's shape")
    train: Train = Field(
        Train(),
        description="the training loop; settings left out follow from the base and the corpus (docs/training.md)",
    )
    evaluate: Evaluate = Field(Evaluate(), description="when a model is good enough")
    registry: Registry = Field(Registry(), description="where a model goes after it passed evaluation")
    serve: Serve = Field(Serve(), description="the server")
    beam: Beam = Field(Beam(), description="how Apache Beam runs")
    kubeflow: Kubeflow = Field(Kubeflow(), description="where Kubeflow Pipelines runs the steps")
    watch: Watch = Field(Watch(), description="when 'textmill watch' trains and deploys")

    @property
    def learned_sources(self) -> list[str]:
        """Names of the sources to train on: sites and imported ones."""
        return self.corpus.sources or [*(source.name for source in self.sources), *self.corpus.imported]

    @property
    def tokenizer_kind(self) -> str:
        """`tokenizer.kind`; always `base` if the model has a base."""
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
    def _low_rank_has_a_base(self) -> "Config":
        if self.train.lora_rank and self.model.base == "scratch":
            raise ValueError(
                f"train.lora_rank: {self.train.lora_rank} needs a base, because random weights would stay frozen; "
                "set model.base, or remove train.lora_rank"
            )
        return self

    @model_validator(mode="after")
    def _learns_from_something(self) -> "Config":
        if not self.sources and not self.corpus.imported and self.text is None:
            raise ValueError(
                "'sources' is missing; list the web sites to train on, or imported sources in corpus.imported, "
                "or set text to a file"
            )
        return self

    @model_validator(mode="after")
    def _sources_are_distinct(self) -> "Config":
        names = [source.name for source in self.sources]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"sources: the name '{min(twice)}' is used twice; give each site its own")
        if unknown := set(self.corpus.sources) - set(names) - set(self.corpus.imported):
            raise ValueError(f"corpus.sources: no source is named '{min(unknown)}'")
        return self
