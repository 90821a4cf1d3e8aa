"""ExportArticles: one snapshot of the article store becomes Examples with the splits train, validation and eval."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import apache_beam as beam
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from textmill.articles import store
from textmill.articles.selection import Selection
from textmill.articles.snapshot import Snapshot
from textmill.console import progress
from textmill.corpus import content_cache, export, shards
from textmill.ground import environment
from textmill.ground.errors import UserError
from textmill.ground.files import emptied


@component(use_beam=True)
def ExportArticles(
    examples: OutputArtifact[standard_artifacts.Examples],
    snapshot: Parameter[int],
    digest: Parameter[str],
    database: Parameter[str],
    selection: Parameter[str],
    sources: Parameter[str],
    cache: Parameter[str],
    code: Parameter[str],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Write the snapshot's articles as TFRecords; `digest` and `code` are there for caching to see a change.

    `selection` is the JSON of a textmill.articles.selection.Selection. `sources` are names with commas between them; empty: all
    that the snapshot holds. `cache` is a folder that keeps articles' signatures from run to run.
    """
    progress.step("ExportArticles")
    open_store = partial(store.article_store, database)
    taken = open_store().snapshot(snapshot)
    facts = export.export_articles(
        beam_pipeline,
        open_store,
        taken,
        emptied(Path(examples.uri)),
        replace(Selection.from_json(selection), sources=_named(sources, taken)),
        content_cache.Cache(cache, environment.how("signature_bytes", 0)),
    )
    examples.split_names = json.dumps(export.SPLITS)
    examples.set_string_custom_property("facts", shards.facts_digest(Path(examples.uri)))
    examples.set_int_custom_property("snapshot", facts.snapshot)
    examples.set_int_custom_property("articles", sum(facts.articles.values()))
    progress.result(
        f"snapshot {facts.snapshot}: {facts.articles['train']} articles to learn from, "
        f"{facts.articles['validation']} to choose the best step by, {facts.articles['eval']} to judge by"
        + "".join(f"; {count} left out: {reason}" for reason, count in facts.left_out.items())
    )


def _named(sources: str, snapshot: Snapshot) -> tuple[str, ...]:
    names = tuple(filter(None, sources.replace(" ", "").split(",")))
    if unknown := set(names) - set(snapshot.sources):
        held = ", ".join(sorted(snapshot.sources))
        raise UserError(f"Snapshot {snapshot.number} holds no article of '{min(unknown)}'; it has those of {held}.")
    return names
