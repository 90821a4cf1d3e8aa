"""From a snapshot of articles to token windows: the Beam transforms of ExportArticles and Preprocess.

Beam's workers import this module, so it imports neither TensorFlow nor TFX.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.tfrecordio import WriteToTFRecord

from textmill import progress, records
from textmill.articles import Article, ArticleStore, Snapshot, digest_of, digest_term, key_ranges
from textmill.errors import UserError
from textmill.files import write_beside
from textmill.gpt2.document import document
from textmill.gpt2.tokenizer import Tokenizer

SPLITS = ("train", "eval")
FACTS_FILE = "facts.json"  # a step's facts, inside its artifact
TOKENIZER_FILE = "tokenizer.json"
_RANGES = 64  # key ranges read side by side
_ARTICLES_A_SHARD = 5000
_TOKENIZER_SAMPLE_BYTES = 200_000_000  # enough text for any vocabulary, and it bounds the memory of training one

_TOPICS = 8  # titles of held-out articles that sample texts are written on

OpenStore = Callable[[], ArticleStore]


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


def split_of(key: str, eval_percent: float) -> str:
    """The split an article belongs to for good, from the last eight hex digits of its key.

    The first digits choose the key range, so a split is spread evenly over all ranges.
    """
    return "eval" if int(key[-8:], 16) < eval_percent / 100 * 0x1_0000_0000 else "train"


class ReadArticles(beam.DoFn):
    """(index, key range) -> the snapshot's articles in it."""

    def __init__(self, open_store: OpenStore, snapshot: Snapshot) -> None:
        self._open_store = open_store
        self._snapshot = snapshot

    def setup(self) -> None:
        self._store = self._open_store()

    def process(self, element: tuple[int, tuple[str, str]]) -> Iterator[Article]:
        index, keys = element
        yield from self._store.read(self._snapshot, keys)
        progress.report(index + 1, _RANGES, "key ranges read")


def example(article: Article) -> bytes:
    """An article as a serialised tf.Example."""
    return records.encode_example(
        {
            "url": article.url,
            "source": article.source,
            "title": article.title,
            "text": article.text,
            "content_hash": article.content_hash,
        }
    )


def _digest(article: Article) -> str:
    return digest_of([digest_term(article.key, article.content_hash)])


def _add_digests(digests: Iterable[str]) -> str:
    """Digests add up in any grouping; as text, because Beam's integers have 64 bits."""
    return digest_of(int(digest, 16) for digest in digests)


def _written_facts(article: Article, split: str) -> list[tuple[str, int]]:
    size = len(document(article.title, article.text).encode())
    return [(f"articles:{split}", 1), (f"bytes:{split}", size), (f"source:{article.source}", 1)]


def _first(articles: Iterable[Article]) -> Article:
    return min(articles, key=lambda article: article.key)


def export_articles(
    pipeline: beam.Pipeline,
    open_store: OpenStore,
    snapshot: Snapshot,
    out: Path,
    eval_percent: float,
    languages: frozenset[str] = frozenset(),
) -> ExportFacts:
    """Write a snapshot's articles as gzipped TFRecords of tf.Example under `out/Split-train` and `out/Split-eval`.

    Raises:
        UserError: the store no longer holds what the snapshot recorded, or a split would be empty.
    """
    sums = out / "sums"
    with pipeline:
        read = (
            pipeline
            | "Ranges" >> beam.Create(list(enumerate(key_ranges(_RANGES))))
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(ReadArticles(open_store, snapshot))
        )
        admitted = (
            read
            | "Languages" >> beam.Filter(lambda a: not languages or a.language in languages)
            | "ByContent" >> beam.Map(lambda a: (a.content_hash, a))
            | "Same" >> beam.GroupByKey()
            | "First" >> beam.MapTuple(lambda _, articles: _first(articles))
        )
        facts = [read | "ReadFacts" >> beam.Map(lambda _: ("read", 1))]
        digest = (
            read
            | "Digest" >> beam.Map(_digest)
            | "AddDigests" >> beam.CombineGlobally(_add_digests)
            | "NameDigest" >> beam.Map(lambda digest: ("digest", digest))
        )
        for split in SPLITS:
            chosen = admitted | f"Choose-{split}" >> beam.Filter(
                lambda a, split=split: split_of(a.key, eval_percent) == split
            )
            facts.append(chosen | f"Facts-{split}" >> beam.FlatMap(_written_facts, split))
            _ = (
                chosen
                | f"Example-{split}" >> beam.Map(example)
                | f"Write-{split}"
                >> WriteToTFRecord(
                    str(out / f"Split-{split}" / "articles"),
                    file_name_suffix=".tfrecord.gz",
                    num_shards=1 + snapshot.articles // _ARTICLES_A_SHARD,
                )
            )
        _ = (
            (facts | "Facts" >> beam.Flatten() | "Sum" >> beam.CombinePerKey(sum), digest)
            | "WithDigest" >> beam.Flatten()
            | "Json" >> beam.Map(json.dumps)
            | "WriteSums" >> beam.io.WriteToText(str(sums), num_shards=1)
        )
    return _checked(snapshot, _collect(sums), out)


def _collect(prefix: Path) -> dict[str, Any]:
    """Read the sums that the pipeline left beside its output, and take them away."""
    totals: dict[str, Any] = {}
    for file in prefix.parent.glob(f"{prefix.name}-*"):
        totals.update(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
        file.unlink()
    return totals


def _checked(snapshot: Snapshot, totals: dict[str, Any], out: Path) -> ExportFacts:
    if totals["digest"] != snapshot.digest:
        raise UserError(
            f"The store no longer holds what snapshot {snapshot.number} recorded ({snapshot.articles} articles, "
            f"now {totals.get('read', 0)}); run again to take a fresh snapshot."
        )

    def group(prefix: str) -> dict[str, int]:
        return {k.partition(":")[2]: n for k, n in sorted(totals.items()) if k.startswith(f"{prefix}:")}

    articles = {split: group("articles").get(split, 0) for split in SPLITS}
    if min(articles.values()) == 0:
        raise UserError(
            f"The corpus is too small to split: of {totals.get('read', 0)} articles {articles['train']} are for training and "
            f"{articles['eval']} to judge by; crawl more sites or change corpus.eval_percent."
        )
    facts = ExportFacts(
        snapshot=snapshot.number,
        digest=snapshot.digest,
        time=snapshot.time.isoformat(),
        articles=articles,
        bytes=group("bytes"),
        sources=group("source"),
        left_out={"other language or same text": totals["read"] - sum(articles.values())},
    )
    write_beside(out / FACTS_FILE, json.dumps(asdict(facts), indent=1))
    return facts


def read_articles(split: Path) -> Iterator[tuple[str, str]]:
    """Stream (title, text) of the articles in one exported split, in the order of its files."""
    for file in records.record_files(split):
        for record in records.read_records(file):
            yield records.text_feature(record, "title"), records.text_feature(record, "text")


def tokenizer_sample(split: Path) -> Iterator[str]:
    """Documents of a split to train a tokenizer on, up to a bound of text."""
    size = 0
    for title, text in read_articles(split):
        size += len(text)
        yield document(title, text)
        if size > _TOKENIZER_SAMPLE_BYTES:
            return


def windows_of(streams: Iterable[list[int]], window: int, end: int) -> Iterator[list[int]]:
    """Join documents by the end token and cut the stream into windows: no token is lost or repeated.

    Only the last window can be shorter.
    """
    rest: list[int] = []
    for tokens in streams:
        rest += tokens
        rest.append(end)
        full = len(rest) - len(rest) % window
        for start in range(0, full, window):
            yield rest[start : start + window]
        del rest[:full]
    if rest:
        yield rest


class PackShard(beam.DoFn):
    """A file of articles -> a file of token windows beside the others of its split, and its counts."""

    def __init__(self, tokenizer_file: str, window: int, out: str) -> None:
        self._tokenizer_file = tokenizer_file
        self._window = window
        self._out = out

    def setup(self) -> None:
        self._tokenizer = Tokenizer.load(Path(self._tokenizer_file))

    def process(self, element: tuple[str, str]) -> Iterator[tuple[str, int]]:
        split, path = element
        documents = (
            document(records.text_feature(record, "title"), records.text_feature(record, "text"))
            for record in records.read_records(Path(path))
        )
        tokens = (self._tokenizer.encode(text) for text in documents)
        target = Path(self._out) / f"Split-{split}" / Path(path).name.replace("articles", "windows").removesuffix(".gz")
        target.parent.mkdir(parents=True, exist_ok=True)
        count = 0
        partial = target.with_name(f".{target.name}")
        with partial.open("wb") as file:
            for window in windows_of(tokens, self._window, self._tokenizer.end):
                file.write(records.frame(records.encode_example({"tokens": window})))
                count += len(window)
        partial.replace(target)
        yield f"tokens:{split}", count


def preprocess(pipeline: beam.Pipeline, examples: Path, out: Path, tokenizer: Tokenizer, window: int) -> dict[str, Any]:
    """Tokenise both splits into windows under `out`, with the tokenizer and the facts of both steps beside them.

    Returns:
        The facts: those of the export, and `tokens` per split, `vocabulary`, `window`.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out / TOKENIZER_FILE)
    files = [(split, str(f)) for split in SPLITS for f in records.record_files(examples / f"Split-{split}")]
    sums = out / "sums"
    with pipeline:
        _ = (
            pipeline
            | "Files" >> beam.Create(files)
            | "Spread" >> beam.Reshuffle()
            | "Pack" >> beam.ParDo(PackShard(str(out / TOKENIZER_FILE), window, str(out)))
            | "Sum" >> beam.CombinePerKey(sum)
            | "Json" >> beam.Map(json.dumps)
            | "WriteSums" >> beam.io.WriteToText(str(sums), num_shards=1)
        )
    totals = _collect(sums)
    facts = json.loads((examples / FACTS_FILE).read_text(encoding="utf-8"))
    facts |= {
        "tokens": {split: totals.get(f"tokens:{split}", 0) for split in SPLITS},
        "vocabulary": tokenizer.vocabulary,
        "window": window,
        "topics": [title for title, _ in islice(read_articles(examples / "Split-eval"), _TOPICS)],
    }
    if facts["tokens"]["train"] <= window or facts["tokens"]["eval"] < 2:
        raise UserError(
            f"The corpus is too small to train on: {facts['tokens']['train']} tokens do not fill one window of {window}; "
            "crawl more or make model.window smaller."
        )
    write_beside(out / FACTS_FILE, json.dumps(facts, indent=1))
    return dict(facts)
