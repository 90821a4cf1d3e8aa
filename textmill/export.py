"""From a snapshot of articles to Examples: the Beam pipeline of ExportArticles.

Three passes over key ranges, in any number of workers: read each range from the store and set its articles and what
tells them apart aside; find the copies; write the rest to their splits. Only the numbers of ranges go through Beam;
texts go from file to file, one at a time. Beam's workers import this module, so it imports neither TensorFlow nor TFX.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import apache_beam as beam

from textmill import exported, near_duplicates, progress, records
from textmill.articles import Article, Snapshot, digest_of, digest_term, key_of, key_ranges
from textmill.errors import UserError
from textmill.files import write_beside
from textmill.gpt2.document import document
from textmill.near_duplicates import Bands
from textmill.selection import Selection

SPLITS = ("train", "validation", "eval")
FACTS_FILE = "facts.json"  # a step's facts, inside its artifact
_ARTICLES_A_RANGE = 4096  # at most, on average


class Articles(Protocol):
    """What an export reads from; textmill.articles.ArticleStore is one."""

    def read(self, snapshot: Snapshot, keys: tuple[str, str]) -> Iterator[Article]:
        """Stream the articles in a half-open range of keys, in their order."""


OpenStore = Callable[[], Articles]


@dataclass(frozen=True)
class ExportFacts:
    """What ExportArticles read and wrote."""

    snapshot: int
    digest: str
    time: str  # of the snapshot, ISO 8601
    articles: dict[str, int]  # per split
    bytes: dict[str, int]  # of UTF-8 text, per split
    sources: dict[str, int]  # articles written, per source
    left_out: dict[str, int]  # articles, per reason


def split_of(key: str, eval_percent: float, validation_percent: float) -> str:
    """The split an article belongs to for good, from the last eight hex digits of its key.

    `eval` takes the lowest numbers and `validation` the highest, so that a change of one share moves no article into
    or out of the other; both are less than half. The first digits of a key choose its range, so a split is spread
    evenly over all ranges.
    """
    place = int(key[-8:], 16) / 0x1_0000_0000
    if place < eval_percent / 100:
        return "eval"
    return "validation" if place >= 1 - validation_percent / 100 else "train"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What every worker is told."""

    open_store: OpenStore
    snapshot: Snapshot
    selection: Selection
    bands: Bands
    out: str

    @property
    def ranges(self) -> int:
        """A power of two, so that a corpus that grows keeps its ranges until it has doubled."""
        return 1 << max(0, (self.snapshot.articles - 1) // _ARTICLES_A_RANGE).bit_length()

    @property
    def parts(self) -> int:
        return near_duplicates.parts_for(self.snapshot.articles, self.bands)

    @property
    def work(self) -> Path:
        return Path(self.out) / "work"


class SetAside(beam.DoFn):
    """A key range -> its admitted articles in a file, with their marks; gives each part of the buckets to be joined."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    def setup(self) -> None:
        self._store = self._plan.open_store()

    def process(self, number: int) -> Iterator[tuple[int, int]]:
        plan = self._plan
        marks = near_duplicates.Marks(plan.work, number, plan.bands)
        counts: Counter[str] = Counter()
        digest = 0
        with records.writing(plan.work / f"articles-{number}") as write:
            for article in self._store.read(plan.snapshot, key_ranges(plan.ranges)[number]):
                content_hash = article.content_hash
                digest += digest_term(article.key, content_hash)
                counts["read"] += 1
                if reason := plan.selection.refusal(article):
                    counts[f"left_out:{reason}"] += 1
                    continue
                marks.add(content_hash, article.text)
                write(_example(article, content_hash))
        marks.write()
        write_beside(plan.work / f"read-{number}.json", json.dumps({**counts, "digest": digest_of([digest])}))
        progress.report(number + 1, 2 * plan.ranges, "key ranges read")
        yield from ((part, number) for part in range(plan.parts))


class FindCopies(beam.DoFn):
    """A part of the buckets, once all ranges have been set aside -> every range."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    def process(self, element: tuple[int, Any]) -> Iterator[tuple[int, int]]:
        part, plan = element[0], self._plan
        near_duplicates.copies_in(plan.work, part, plan.parts, plan.ranges, plan.bands.threshold)
        yield from ((number, part) for number in range(plan.ranges))


class WriteSplits(beam.DoFn):
    """A key range, once all copies are known -> its articles in their splits, and its counts."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    def process(self, element: tuple[int, Any]) -> Iterator[int]:
        number, plan = element[0], self._plan
        copies = near_duplicates.copies_of(plan.work, number, plan.parts)
        totals = json.loads((plan.work / f"read-{number}.json").read_text(encoding="utf-8"))
        counts = Counter({name: count for name, count in totals.items() if name != "digest"})
        with ExitStack() as opened:
            files: dict[str, Callable[[bytes], None]] = {}
            for place, record in enumerate(records.read_records(plan.work / f"articles-{number}")):
                if place in copies:
                    counts[f"left_out:{'near duplicate' if copies[place] else 'same text'}"] += 1
                    continue
                article = exported.of_record(record)
                split = split_of(key_of(article.url), plan.selection.eval_percent, plan.selection.validation_percent)
                if split not in files:
                    files[split] = opened.enter_context(records.writing(_shard(plan, split, number)))
                files[split](record)
                counts[f"articles:{split}"] += 1
                counts[f"bytes:{split}"] += len(document(article.title, article.text).encode())
                counts[f"source:{article.source}"] += 1
        write_beside(plan.work / f"written-{number}.json", json.dumps({**counts, "digest": totals["digest"]}))
        progress.report(plan.ranges + number + 1, 2 * plan.ranges, "key ranges written")
        yield number


def export_articles(
    pipeline: beam.Pipeline, open_store: OpenStore, snapshot: Snapshot, out: Path, selection: Selection
) -> ExportFacts:
    """Write a snapshot's articles as gzipped TFRecords of tf.Example under `out/Split-train`, and so on for each split.

    `out` is on a disk that all of Beam's workers share.

    Raises:
        UserError: the store no longer holds what the snapshot recorded, or a split would be empty.
    """
    plan = _Plan(open_store, snapshot, selection, Bands.for_threshold(selection.near_duplicates), str(out))
    shutil.rmtree(plan.work, ignore_errors=True)
    plan.work.mkdir(parents=True)
    for split in SPLITS:
        (out / f"Split-{split}").mkdir(exist_ok=True)
    with pipeline:
        # one chain to its end: Dask's runner computes no more than what the last transform needs
        _ = (
            pipeline
            | "Ranges" >> beam.Create(range(plan.ranges))
            | "Spread" >> beam.Reshuffle()
            | "SetAside" >> beam.ParDo(SetAside(plan))
            | "AllSetAside" >> beam.GroupByKey()
            | "FindCopies" >> beam.ParDo(FindCopies(plan))
            | "AllFound" >> beam.GroupByKey()
            | "WriteSplits" >> beam.ParDo(WriteSplits(plan))
        )
    facts = _facts(plan)
    shutil.rmtree(plan.work)
    write_beside(out / FACTS_FILE, json.dumps(asdict(facts), indent=1))
    return facts


def _example(article: Article, content_hash: str) -> bytes:
    """An article as a serialised tf.Example."""
    return records.encode_example(
        {
            "url": article.url,
            "source": article.source,
            "title": article.title,
            "text": article.text,
            "content_hash": content_hash,
        }
    )


def _shard(plan: _Plan, split: str, number: int) -> Path:
    return Path(plan.out) / f"Split-{split}" / f"articles-{number:05d}-of-{plan.ranges:05d}.tfrecord.gz"


def _facts(plan: _Plan) -> ExportFacts:
    totals: Counter[str] = Counter()
    digest = 0
    for number in range(plan.ranges):
        counts = json.loads((plan.work / f"written-{number}.json").read_text(encoding="utf-8"))
        digest += int(counts.pop("digest"), 16)
        totals.update(counts)
    if digest_of([digest]) != plan.snapshot.digest:
        raise UserError(
            f"The store no longer holds what snapshot {plan.snapshot.number} recorded ({plan.snapshot.articles} "
            f"articles, now {totals['read']}); run again to take a fresh snapshot."
        )

    def group(prefix: str) -> dict[str, int]:
        return {k.partition(":")[2]: n for k, n in sorted(totals.items()) if k.startswith(f"{prefix}:")}

    articles = {split: group("articles").get(split, 0) for split in SPLITS}
    left_out = group("left_out")
    if min(articles.values()) == 0:
        raise UserError(_too_small(totals["read"], articles, left_out))
    return ExportFacts(
        snapshot=plan.snapshot.number,
        digest=plan.snapshot.digest,
        time=plan.snapshot.time.isoformat(),
        articles=articles,
        bytes=group("bytes"),
        sources=group("source"),
        left_out=left_out,
    )


def _too_small(read: int, articles: dict[str, int], left_out: dict[str, int]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return (
        f"The corpus is too small to split: of {read} articles {articles['train']} are for training, "
        f"{articles['validation']} to choose the best step by and {articles['eval']} to judge the model by"
        f"{f', and {reasons} were left out' if reasons else ''}; "
        "crawl more sites, or change corpus.validation_percent and corpus.eval_percent."
    )
