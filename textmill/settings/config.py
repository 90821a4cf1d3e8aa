"""Every setting of one model, in groups: the whole file.

`textmill init` writes these descriptions as comments, so this is where a setting is documented.
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
    train: Train = Field(
        Train(), description="the training loop; what is left out follows the base and the corpus (docs/training.md)"
    )
    evaluate: Evaluate = Field(Evaluate(), description="when a model is good enough")
    registry: Registry = Field(Registry(), description="what happens to a model that passed")
    serve: Serve = Field(Serve(), description="the server")
    beam: Beam = Field(Beam(), description="how Apache Beam runs")
    kubeflow: Kubeflow = Field(Kubeflow(), description="where Kubeflow Pipelines runs the steps")
    watch: Watch = Field(Watch(), description="when to train and deploy without being asked")

    @property
    def learned_sources(self) -> list[str]:
        """The names of the sources that are learned from: sites, and what was imported."""
        return self.corpus.sources or [*(source.name for source in self.sources), *self.corpus.imported]

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
        if not self.sources and not self.corpus.imported and self.text is None:
            raise ValueError(
                "'sources' is missing; name the web sites to learn from, or set corpus.imported to what was imported, "
                "or text to a file"
            )
        return self

    @model_validator(mode="after")
    def _sources_are_distinct(self) -> "Config":
        names = [source.name for source in self.sources]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"sources: the name '{min(twice)}' stands twice; give each site its own")
        if unknown := set(self.corpus.sources) - set(names) - set(self.corpus.imported):
            raise ValueError(f"corpus.sources: no source is named '{min(unknown)}'")
        return self
