"""Score a bundle as it will be served: with ONNX Runtime, on held-out documents.

Bits per byte are the bits that the model needs to predict a document, divided by its bytes in UTF-8. They compare models
with different tokenizers; perplexity per token does not. Each document is scored alone, with an end token before it, as
in training. Its own end token is predicted too: it adds bits and counts as a token, but not as a byte.
A character that the tokenizer lacks costs its unknown token and 8 bits for each of its bytes.

Documents longer than the window are read in windows with a stride of half a window. Every token is predicted once, and
has at least half a window of context from the second window on. A smaller stride gives more context and better figures,
but costs more. All models use the same stride in windows, so their figures compare.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.corpus.exported_articles import Exported
from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.document import document, topic_prompt
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference import engine as inference
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.verbatim.index import Run, Verbatim
from textmill.ground.errors import TextmillError
from textmill.ground.words import words as words_of

_ROWS_AT_ONCE = 64  # of logits turned into probabilities; 26 MB of float64 with GPT-2's vocabulary
_REPEATED = 4  # words; four in a row seldom repeat by chance
_ARTICLES = 400  # whose own figures are kept: the first ones, in an order unrelated to their topics
_SLOTS = 8  # texts generated at once; a text does not depend on the others


@dataclass(frozen=True, slots=True)
class Sample:
    """A text generated on a held-out article's title."""

    topic: str
    text: str
    finish: str
    copied: list[Run] = field(default_factory=list)  # copied from the training text; positions in characters

    def __str__(self) -> str:
        return document(self.topic, self.text)


@dataclass(frozen=True, slots=True)
class ArticleScore:
    """One held-out article's figures."""

    title: str
    source: str
    bytes: int
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class SourceScore:
    """The figures of all held-out articles of one source."""

    documents: int
    bytes: int
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class Scores:
    """A bundle's scores. NaN means not measured."""

    checksum: str  # of the bundle
    documents: int
    bytes: int  # of the documents, in UTF-8
    tokens: int  # predicted, with each document's end token
    bits_per_byte: float
    perplexity: float  # per token
    repetition: float = math.nan  # share of the samples' four-word sequences that occurred earlier in the same sample
    distinct_1: float = math.nan  # different words as a share of the samples' words (Li et al. 2016)
    distinct_2: float = math.nan  # the same for pairs of words
    copied: float = math.nan  # share of the samples' 30-token passages that are in the training text
    passages: int = 0  # in the samples
    unknown_bytes: int = 0  # of characters that the tokenizer lacks
    samples: list[Sample] = field(default_factory=list)
    sources: dict[str, SourceScore] = field(default_factory=dict)
    articles: list[ArticleScore] = field(default_factory=list)  # the first few hundred
    sizes: list[int] = field(default_factory=list)  # bytes of each document
    bits: list[float] = field(default_factory=list)  # bits of each document, in the same order

    def metrics(self) -> dict[str, float]:
        """The finite figures by name."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        values = {name: value for name, value in named.items() if isinstance(value, int | float)}
        return {name: value for name, value in values.items() if math.isfinite(value)}


def judge(
    directory: Path,
    articles: Iterable[Exported],
    samples: int = 0,
    settings: dict[str, Any] | None = None,
    threads: int = 0,
) -> Scores:
    """Score a bundle on a stream of articles, and generate texts on their titles.

    Args:
        samples: number of texts; their seeds are 0, 1, 2 and so on. With fewer articles, titles repeat.
        settings: fields of `sampling.Settings` that override the bundle's defaults.
        threads: CPU threads; 0: all cores of this process, or one for a small model.

    Raises:
        UserError: the bundle is damaged.
        TextmillError: there is no article.
    """
    checksum = bundle.verify(directory)
    tally, titles = _predict(directory, articles, samples, threads)
    index = Verbatim.open(directory)
    topics = [titles[number % len(titles)] for number in range(samples)]
    written = _write(directory, topics, settings or {}, threads, index)
    words = [words_of(sample.text) for sample in written]
    copied, passages = index.share(sample.text for sample in written) if index else (0, 0)
    return Scores(
        checksum=checksum,
        documents=tally.documents,
        bytes=tally.bytes,
        tokens=tally.tokens,
        bits_per_byte=sum(tally.bits) / tally.bytes,
        perplexity=math.exp(min(tally.nats / tally.tokens, 700.0)),  # past this, exp has no float
        repetition=_repetition(words),
        distinct_1=_distinct(words, 1),
        distinct_2=_distinct(words, 2),
        copied=copied / passages if passages else math.nan,
        passages=passages,
        unknown_bytes=tally.unknown,
        samples=written,
        sources=tally.of_sources(),
        articles=tally.articles,
        sizes=tally.sizes,
        bits=tally.bits,
    )


def _predict(
    directory: Path, articles: Iterable[Exported], most_titles: int, threads: int
) -> tuple["_Tally", list[str]]:
    """The articles' scores, and the first titles."""
    tokenizer = Tokenizer.load(directory / bundle.TOKENIZER)
    session = Session(directory, slots=1, threads=threads)
    tally = _Tally()
    titles: list[str] = []
    for article in articles:
        whole = document(article.title, article.text)
        sequence = [tokenizer.end, *tokenizer.encode(whole), tokenizer.end]
        nats = surprise(session, sequence)
        tally.add(article, len(whole.encode()), tokenizer.unknown_bytes(whole), len(sequence) - 1, nats)
        if len(titles) < most_titles:
            titles.append(article.title)
    if not tally.documents:
        raise TextmillError(
            "There is no held-out article to evaluate the model on; crawl more articles, or raise corpus.eval_percent."
        )
    return tally, titles


class _Tally:
    """Sums over the articles scored so far: in all, and per source."""

    def __init__(self) -> None:
        self.documents, self.bytes, self.tokens, self.unknown, self.nats = 0, 0, 0, 0, 0.0
        self.articles: list[ArticleScore] = []
        self.sizes: list[int] = []
        self.bits: list[float] = []
        self._sources: dict[str, tuple[int, int, float]] = {}  # documents, bytes, bits

    def add(self, article: Exported, size: int, unknown: int, tokens: int, nats: float) -> None:
        """Add an article of `size` bytes, of which the tokenizer does not know `unknown`."""
        bits = nats / math.log(2) + 8 * unknown
        self.documents += 1
        self.bytes += size
        self.tokens += tokens
        self.unknown += unknown
        self.nats += nats
        self.sizes.append(size)
        self.bits.append(bits)
        documents, total, former = self._sources.get(article.source, (0, 0, 0.0))
        self._sources[article.source] = documents + 1, total + size, former + bits
        if len(self.articles) < _ARTICLES:
            self.articles.append(ArticleScore(article.title, article.source, size, bits / size))

    def of_sources(self) -> dict[str, SourceScore]:
        return {
            name: SourceScore(documents, size, bits / size)
            for name, (documents, size, bits) in sorted(self._sources.items())
        }


def surprise(session: Session, sequence: Sequence[int]) -> float:
    """The cost in nats of every token of a sequence except the first; uses the session's first row."""
    window = session.architecture.window
    last = len(sequence) - 1  # the final token is predicted, but predicts nothing
    nats, predicted = 0.0, 0
    for start in range(0, last, window // 2):
        end = min(start + window, last)
        wanted = range(predicted - start, end - start)
        logits = session.forward(0, sequence[start:end], 0, wanted)
        nats += _surprise(logits, np.array(sequence[predicted + 1 : end + 1]))
        predicted = end
        if end == last:
            break
    return nats


def _surprise(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """The negative log-likelihood of the targets, from logits of shape (targets, vocabulary)."""
    nats = 0.0
    for first in range(0, len(targets), _ROWS_AT_ONCE):
        rows = logits[first : first + _ROWS_AT_ONCE].astype(np.float64)
        chosen = rows[np.arange(len(rows)), targets[first : first + _ROWS_AT_ONCE]]
        highest = rows.max(axis=1)
        total = highest + np.log(np.exp(rows - highest[:, None]).sum(axis=1))
        nats += float((total - chosen).sum())
    return nats


def _write(
    directory: Path, topics: list[str], settings: dict[str, Any], threads: int, index: Verbatim | None
) -> list[Sample]:
    if not topics:
        return []
    with (
        inference.Engine(directory, slots=min(_SLOTS, len(topics)), threads=threads) as engine,
        ThreadPoolExecutor(_SLOTS) as pool,
    ):

        def written(seed: int, topic: str) -> Sample:
            how = Settings.of(engine.defaults, settings, {"seed": seed})
            text = inference.generate(engine, topic_prompt(engine.tokenizer, topic), how)
            return Sample(topic, text.text, text.finish, index.copied_text(text.text) if index else [])

        return list(pool.map(written, range(len(topics)), topics))


def _runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


def _repetition(texts: list[list[str]]) -> float:
    runs = [Counter(_runs(words, _REPEATED)) for words in texts]
    total = sum(count.total() for count in runs)
    return sum(count.total() - len(count) for count in runs) / total if total else math.nan


def _distinct(texts: list[list[str]], length: int) -> float:
    runs = [run for words in texts for run in _runs(words, length)]
    return len(set(runs)) / len(runs) if runs else math.nan


def write_untrained(directory: Path, architecture: Architecture, tokenizer: Tokenizer, seed: int = 1) -> str:
    """Write a bundle with GPT-2's random initialisation, for comparison; return its checksum."""
    card = "# An untrained GPT-2\n\nRandom weights, for comparison only.\n"
    made = {"weights": "random", "seed": seed}
    return bundle.write_bundle(directory, weights.initial(architecture, seed), architecture, tokenizer, {}, made, card)
