"""ExportArticles: one snapshot of the article store becomes Examples with the splits train, validation and eval."""

import json
from functools import partial
from pathlib import Path

import apache_beam as beam
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from textmill import corpus, environment, progress


@component(use_beam=True)
def ExportArticles(
    examples: OutputArtifact[standard_artifacts.Examples],
    snapshot: Parameter[int],
    digest: Parameter[str],
    database: Parameter[str],
    eval_percent: Parameter[float],
    validation_percent: Parameter[float],
    languages: Parameter[str],
    code: Parameter[str],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Write the snapshot's articles as TFRecords; `digest` and `code` are there for caching to see a change."""
    progress.step("ExportArticles")
    open_store = partial(environment.article_store, database)
    facts = corpus.export_articles(
        beam_pipeline,
        open_store,
        open_store().snapshot(snapshot),
        Path(examples.uri),
        eval_percent,
        validation_percent,
        frozenset(json.loads(languages)),
    )
    examples.split_names = json.dumps(corpus.SPLITS)
    examples.set_int_custom_property("snapshot", facts.snapshot)
    examples.set_int_custom_property("articles", sum(facts.articles.values()))
    progress.result(
        f"snapshot {facts.snapshot}: {facts.articles['train']} articles to learn from, "
        f"{facts.articles['validation']} to choose the best step by, {facts.articles['eval']} to judge by"
    )
