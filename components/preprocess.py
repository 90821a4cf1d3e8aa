"""Preprocess: articles become fixed-length windows of tokens, with the tokenizer beside them."""

import json
from pathlib import Path

import apache_beam as beam
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from textmill.console import progress
from textmill.corpus import content_cache, preprocess, shards
from textmill.gpt2 import tokenizer
from textmill.ground import environment
from textmill.ground.files import emptied
from textmill.training.bases.base import Base


@component(use_beam=True)
def Preprocess(
    examples: InputArtifact[standard_artifacts.Examples],
    windows: OutputArtifact[standard_artifacts.Examples],
    kind: Parameter[str],
    vocabulary: Parameter[int],
    base: Parameter[str],
    window: Parameter[int],
    cache: Parameter[str],
    code: Parameter[str],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Choose or train the tokenizer, then tokenise and pack the splits that FineTune reads.

    `base` is the JSON of what the run starts from; `cache` a folder that keeps articles' tokens from run to run.
    """
    progress.step("Preprocess")
    source = shards.check_facts(Path(examples.uri), examples.get_string_custom_property("facts"))
    out = emptied(Path(windows.uri))
    start = Base.from_json(base)
    folder = None if start.from_scratch else Path(start.directory)
    chosen = tokenizer.choose(kind, vocabulary, folder, preprocess.tokenizer_sample(source / "Split-train"))
    kept = content_cache.Cache(cache, environment.how("token_bytes", 0))
    facts = preprocess.preprocess(beam_pipeline, source, out, chosen, window, kept)
    windows.split_names = json.dumps(preprocess.WINDOWED)
    windows.set_string_custom_property("facts", shards.facts_digest(out))
    windows.set_int_custom_property("vocabulary", facts["vocabulary"])
    windows.set_int_custom_property("tokens", sum(facts["tokens"].values()))
    progress.result(
        f"{facts['tokens']['train']:,} tokens in windows of {window}, {facts['tokens']['validation']:,} held out; vocabulary {facts['vocabulary']:,}"
    )
