"""From Examples to token windows: the Beam pipeline of Preprocess.

Beam's workers import this module, so it imports neither TensorFlow nor TFX.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from textmill.console import progress
from textmill.corpus import exported_articles, shards, tfrecords, token_cache
from textmill.corpus.content_cache import CONTENTS_AT_ONCE, Cache
from textmill.corpus.shards import FACTS_FILE, Listing, Shard
from textmill.corpus.token_cache import TokenCache
from textmill.gpt2 import tokenizer as tokenizers
from textmill.gpt2.document import document
from textmill.gpt2.tokenizer import Tokenizer
from textmill.ground.errors import TextmillError, UserError
from textmill.ground.files import write_beside

WINDOWED = ("train", "validation")  # what FineTune reads; `eval` is for Evaluate alone, which reads its text
_SAMPLE_CHARACTERS = 50_000_000  # enough text for any vocabulary, and it bounds the memory of training one
_BATCH_BYTES = 1 << 20  # of records whose texts are tokenised at once
_TOPICS = 8  # titles of validation articles that sample texts are written on

Tokens = NDArray[np.uint32]


def tokenizer_sample(split: Path, characters: int = _SAMPLE_CHARACTERS) -> Iterator[str]:
    """Documents of a split to train a tokenizer on, up to a bound of text."""
    left = characters
    for article in exported_articles.read(split):
        text = document(article.title, article.text)[:left]
        left -= len(text)
        yield text
        if not left:
            return


def windows_of(documents: Iterable[Tokens], window: int, end: int) -> Iterator[Tokens]:
    """Join documents by the end token and cut the stream into windows: no token is lost or repeated.

    Only the last window can be shorter.
    """
    held: list[Tokens] = []
    size = 0
    for tokens in documents:
        held += [tokens, np.array([end], np.uint32)]
        size += len(tokens) + 1
        if size >= window:
            joined = np.concatenate(held)
            full = size - size % window
            yield from joined[:full].reshape(-1, window)
            held, size = [joined[full:]], size - full
    if size:
        yield np.concatenate(held)


class PackShard(beam.DoFn):
    """A file of articles -> a file of token windows beside the others of its split, and its counts."""

    def __init__(self, tokenizer_file: str, window: int, out: str, work: str, files: int, cache: Cache) -> None:
        self._tokenizer_file = tokenizer_file
        self._window = window
        self._out = out
        self._work = work
        self._files = files
        self._where = cache

    def setup(self) -> None:
        self._tokenizer = Tokenizer.load(Path(self._tokenizer_file))
        kept = self._where.open(token_cache.way(Path(self._tokenizer_file).read_text(encoding="utf-8")))
        self._cache = TokenCache(kept, self._tokenizer.vocabulary) if kept else None

    def teardown(self) -> None:
        if self._cache:
            self._cache.close()

    def process(self, element: tuple[int, tuple[str, Shard]]) -> Iterator[int]:
        number, (split, shard) = element
        counts: Counter[str] = Counter()
        target = Path(self._out) / f"Split-{split}" / shard.path.name.replace("articles", "windows").removesuffix(".gz")
        with tfrecords.writing(target) as write:
            for window in windows_of(self._documents(shard, counts), self._window, self._tokenizer.end):
                write(tfrecords.encode_integers("tokens", window))
                counts["windows"] += 1
                counts[f"tokens:{split}"] += len(window)
        listed = {split: shards.listing([Shard.written(target, counts["windows"])])}
        packed = {"counts": counts, "shards": listed}
        write_beside(Path(self._work) / f"packed-{number}.json", json.dumps(packed))
        progress.report(number + 1, self._files, "files tokenised")
        yield number

    def _documents(self, shard: Shard, counts: Counter[str]) -> Iterator[Tokens]:
        for batch in _batches(shard):
            cached = self._cache.get(batch) if self._cache else {}
            missing = [content for content in batch if content not in cached]
            texts = [document(*tfrecords.text_features(batch[content], ("title", "text"))) for content in missing]
            new = dict(zip(missing, self._tokenizer.encode_arrays(texts), strict=True)) if texts else {}
            if self._cache and new:
                self._cache.put(new)
            counts["tokenised"] += len(new)
            tokens = cached | new
            yield from (tokens[content] for content in batch)


def _batches(shard: Shard) -> Iterator[dict[str, bytes]]:
    """Articles' records by content hash, a bounded amount at a time; an export holds each content once."""
    batch: dict[str, bytes] = {}
    size = 0
    for record in shard.read():
        content = tfrecords.text_feature(record, "content_hash")
        if not content:
            raise TextmillError(f"{shard.path} has an article without its content hash; run ExportArticles again.")
        batch[content] = record
        size += len(record)
        if size >= _BATCH_BYTES or len(batch) == CONTENTS_AT_ONCE:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def preprocess(
    pipeline: beam.Pipeline, examples: Path, out: Path, tokenizer: Tokenizer, window: int, cache: Cache | None = None
) -> dict[str, Any]:
    """Tokenise what FineTune reads into windows under `out`, with the tokenizer and the facts of both steps beside them.

    Returns:
        The facts: those of the export, and `tokens` per split, `tokenised` (articles that were not in the cache),
        `vocabulary`, `window`, `topics`.
    """
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    tokenizer.save(out / tokenizers.FILE)
    for split in WINDOWED:
        (out / f"Split-{split}").mkdir(exist_ok=True)
    files = [(split, shard) for split in WINDOWED for shard in shards.of_split(examples / f"Split-{split}")]
    cache = cache or Cache()
    pack = PackShard(str(out / tokenizers.FILE), window, str(out), str(work), len(files), cache)
    with pipeline:
        _ = pipeline | "Files" >> beam.Create(list(enumerate(files))) | "Spread" >> beam.Reshuffle() | beam.ParDo(pack)
    totals: Counter[str] = Counter()
    listed: dict[str, Listing] = {split: {} for split in WINDOWED}
    for number in range(len(files)):
        packed = json.loads((work / f"packed-{number}.json").read_text(encoding="utf-8"))
        totals.update(packed["counts"])
        for split, each in packed["shards"].items():
            listed[split] |= each
    shutil.rmtree(work)
    cache.prune(token_cache.way((out / tokenizers.FILE).read_text(encoding="utf-8")))
    facts = json.loads((examples / FACTS_FILE).read_text(encoding="utf-8")) | {
        "tokens": {split: totals[f"tokens:{split}"] for split in WINDOWED},
        "tokenised": totals["tokenised"],
        "vocabulary": tokenizer.vocabulary,
        "window": window,
        "topics": [article.title for article in islice(exported_articles.read(examples / "Split-validation"), _TOPICS)],
        "shards": listed,
    }
    if facts["tokens"]["train"] <= window or facts["tokens"]["validation"] < 2:
        raise UserError(
            f"The corpus is too small to train on: {facts['tokens']['train']} tokens do not fill one window of {window}; "
            "crawl more or make model.window smaller."
        )
    write_beside(out / FACTS_FILE, json.dumps(facts, indent=1))
    return dict(facts)
