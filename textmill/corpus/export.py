"""From a snapshot of articles to Examples: the Beam pipeline of ExportArticles.

Three passes over key ranges, in any number of workers: read each range from the store and set its articles and what
tells them apart aside; find the copies; write the rest to their splits. Only the numbers of ranges go through Beam;
texts go from file to file, one at a time. Beam's workers import this module, so it imports neither TensorFlow nor TFX.
"""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apache_beam as beam

from textmill.articles.article import Article
from textmill.articles.selection import Selection
from textmill.articles.snapshot import Snapshot, digest_of, digest_term, key_ranges
from textmill.console import progress
from textmill.corpus import minhash, near_duplicates, tfrecords
from textmill.corpus.content_cache import Cache
from textmill.corpus.near_duplicates import Bands
from textmill.corpus.shards import FACTS_FILE, Listing, Shard, listing
from textmill.gpt2.document import document
from textmill.ground.errors import UserError
from textmill.ground.files import write_beside

SPLITS = ("train", "validation", "eval")
_ARTICLES_A_RANGE = 4096  # at most, on average
_PLACES = 0x1_0000_0000
_MOST_EVALUATED = 0.2  # of the articles, where eval_articles asks for more than eval_percent


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
    shards: dict[str, Listing]  # the files of each split


def split_of(key: str, eval_percent: float, validation_percent: float) -> str:
    """The split an article belongs to for good, from the last eight hex digits of its key.

    `eval` takes the lowest numbers and `validation` the highest, so that a change of one share moves no article into
    or out of the other; both are less than half. The first digits of a key choose its range, so a split is spread
    evenly over all ranges.
    """
    return _split(_place(key), eval_percent / 100, validation_percent / 100)


def _place(key: str) -> float:
    """Where an article stands between 0 and 1, whatever else the corpus holds."""
    return int(key[-8:], 16) / _PLACES


def _split(place: float, evaluated: float, validated: float) -> str:
    if place < evaluated:
        return "eval"
    return "validation" if place >= 1 - validated else "train"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What every worker is told."""

    open_store: OpenStore
    snapshot: Snapshot
    selection: Selection
    bands: Bands
    out: str
    cache: Cache  # of signatures

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


class _Aside(NamedTuple):
    """What is to be known of an article that was set aside, without reading it again."""

    place: float  # which decides its split
    source: str
    size: int  # bytes of the document in UTF-8
    record: int  # bytes of the record

    @classmethod
    def of(cls, article: Article, record: int) -> "_Aside":
        return cls(_place(article.key), article.source, len(document(article.title, article.text).encode()), record)


class SetAside(beam.DoFn):
    """A key range -> its admitted articles in a file, with their marks; gives each part of the buckets to be joined."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan

    def setup(self) -> None:
        self._store = self._plan.open_store()
        self._kept = self._plan.cache.open(minhash.way())

    def teardown(self) -> None:
        if self._kept:
            self._kept.close()

    def process(self, number: int) -> Iterator[tuple[int, int]]:
        plan = self._plan
        marks = near_duplicates.Marks(plan.work, number, plan.bands, self._kept)
        counts: Counter[str] = Counter()
        digest = 0
        aside: list[_Aside] = []
        with tfrecords.writing_frames(plan.work / f"articles-{number}") as write:
            for article in self._store.read(plan.snapshot, key_ranges(plan.ranges)[number]):
                key, content_hash = article.key, article.content_hash
                digest += digest_term(key, content_hash)
                counts["read"] += 1
                if reason := plan.selection.refusal(article):
                    counts[f"left_out:{reason}"] += 1
                    continue
                marks.add(content_hash, article.text)
                record = tfrecords.frame(_example(article, content_hash))
                write(record)
                aside.append(_Aside.of(article, len(record)))
        marks.write()
        read = {"counts": counts, "digest": digest_of([digest]), "articles": aside}
        write_beside(plan.work / f"read-{number}.json", json.dumps(read))
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
        read = _read(plan, number)
        copies = near_duplicates.copies_of(plan.work, number, plan.parts)
        shares = _evaluated(plan, number), plan.selection.validation_percent / 100
        counts = Counter(read["counts"])
        with (plan.work / f"articles-{number}").open("rb") as articles, ExitStack() as opened:
            files: dict[str, Callable[[bytes], object]] = {}
            for place, aside in enumerate(itertools.starmap(_Aside, read["articles"])):
                record = articles.read(aside.record)
                if place in copies:
                    counts[f"left_out:{'near duplicate' if copies[place] else 'same text'}"] += 1
                    continue
                split = _split(aside.place, *shares)
                if split not in files:
                    shard = tfrecords.writing_frames(_shard(plan, split, number))
                    files[split] = opened.enter_context(shard)
                files[split](record)
                counts[f"articles:{split}"] += 1
                counts[f"bytes:{split}"] += aside.size
                counts[f"source:{aside.source}"] += 1
        shards = {
            split: listing([Shard.written(_shard(plan, split, number), counts[f"articles:{split}"])]) for split in files
        }
        written = {"counts": counts, "digest": read["digest"], "shards": shards}
        write_beside(plan.work / f"written-{number}.json", json.dumps(written))
        progress.report(plan.ranges + number + 1, 2 * plan.ranges, "key ranges written")
        yield number


def export_articles(
    pipeline: beam.Pipeline,
    open_store: OpenStore,
    snapshot: Snapshot,
    out: Path,
    selection: Selection,
    cache: Cache | None = None,
) -> ExportFacts:
    """Write a snapshot's articles as gzipped TFRecords of tf.Example under `out/Split-train`, and so on for each split.

    `out` is on a disk that all of Beam's workers share; `cache` has the signatures of articles that former runs read.

    Raises:
        UserError: the store no longer holds what the snapshot recorded, or a split would be empty.
    """
    bands = Bands.for_threshold(selection.near_duplicates)
    kept = cache if cache and bands.count else Cache()
    plan = _Plan(open_store, snapshot, selection, bands, str(out), kept)
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
    plan.cache.prune(minhash.way())
    write_beside(out / FACTS_FILE, json.dumps(asdict(facts), indent=1))
    return facts


def _read(plan: _Plan, number: int) -> dict[str, Any]:
    """What was written down of a key range when it was set aside."""
    return dict(json.loads((plan.work / f"read-{number}.json").read_text(encoding="utf-8")))


def _evaluated(plan: _Plan, number: int) -> float:
    """The place below which an article judges: at `eval_percent`, or higher, where fewer than `eval_articles` stand there.

    It falls as a corpus grows, so that no article which a model has learned from comes to judge a later one. Where this
    range alone has enough articles, no other is read.
    """
    share, wanted = plan.selection.eval_percent / 100, plan.selection.eval_articles
    if share >= _MOST_EVALUATED or not wanted:
        return share
    lowest: list[float] = []
    for each in (number, *(other for other in range(plan.ranges) if other != number)):
        copies = near_duplicates.copies_of(plan.work, each, plan.parts)
        asides = itertools.starmap(_Aside, _read(plan, each)["articles"])
        lowest += [aside.place for place, aside in enumerate(asides) if place not in copies]
        lowest = sorted(lowest)[:wanted]
        if len(lowest) == wanted and lowest[-1] < share:
            return share
    last = lowest[-1] + 1 / _PLACES if len(lowest) == wanted else 1.0
    return max(share, min(last, _MOST_EVALUATED))


def _example(article: Article, content_hash: str) -> bytes:
    """An article as a serialised tf.Example."""
    return tfrecords.encode_example(
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
    shards: dict[str, Listing] = {split: {} for split in SPLITS}
    digest = 0
    for number in range(plan.ranges):
        written = json.loads((plan.work / f"written-{number}.json").read_text(encoding="utf-8"))
        digest += int(written["digest"], 16)
        totals.update(written["counts"])
        for split, listed in written["shards"].items():
            shards[split] |= listed
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
        shards=shards,
    )


def _too_small(read: int, articles: dict[str, int], left_out: dict[str, int]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return (
        f"The corpus is too small to split: of {read} articles {articles['train']} are for training, "
        f"{articles['validation']} to choose the best step by and {articles['eval']} to judge the model by"
        f"{f', and {reasons} were left out' if reasons else ''}; "
        "crawl more sites, or change corpus.validation_percent and corpus.eval_percent."
    )
