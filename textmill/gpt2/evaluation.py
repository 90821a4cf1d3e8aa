"""How good a bundle is, judged as it will be served: through ONNX Runtime, on the text of held-out documents.

Bits per byte are what the model needs for a document, over the document's bytes in UTF-8. They compare models of any
tokenizer; perplexity per token compares only models of one. Each document stands for itself: an end token comes before
it, as in training, and its own end token is among what is predicted, because knowing where to stop is part of writing;
it adds bits and counts as a token, but not as a byte. Documents longer than the window are read in windows that overlap
by half, and every token is predicted once, with at least half a window before it from the second window on.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.errors import TextmillError
from textmill.gpt2 import bundle, inference, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.document import document, topic_prompt
from textmill.gpt2.sampling import Settings
from textmill.gpt2.session import Session
from textmill.gpt2.tokenizer import Tokenizer

_ROWS_AT_ONCE = 64  # of logits turned into probabilities; 26 MB of float64 with GPT-2's vocabulary
_REPEATED = 4  # words; four in a row seldom come again by chance


@dataclass(frozen=True, slots=True)
class Sample:
    """A text that the model wrote on a held-out article's title."""

    topic: str
    text: str
    finish: str

    def __str__(self) -> str:
        return document(self.topic, self.text)


@dataclass(frozen=True, slots=True)
class Scores:
    """What judging came to. The last three are NaN without samples."""

    checksum: str  # of the bundle
    documents: int
    bytes: int  # of the documents in UTF-8
    tokens: int  # predicted, each document's end token among them
    bits_per_byte: float
    perplexity: float  # per token
    repetition: float = math.nan  # share of the samples' runs of four words that stand earlier in the same sample
    distinct_1: float = math.nan  # share of the samples' words that are different ones (Li et al. 2016)
    distinct_2: float = math.nan  # the same of pairs of words
    samples: list[Sample] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """The finite figures by name."""
        values = {name: value for name, value in asdict(self).items() if isinstance(value, int | float)}
        return {name: value for name, value in values.items() if math.isfinite(value)}


def judge(
    directory: Path,
    articles: Iterable[tuple[str, str]],
    samples: int = 0,
    settings: dict[str, Any] | None = None,
    threads: int = 0,
) -> Scores:
    """Score a bundle on articles, given as title and text, and let it write on the first few titles.

    The articles are drawn one at a time and not kept.

    Args:
        samples: how many texts to write; their seeds are 0, 1, 2 and so on.
        settings: fields of `sampling.Settings` for them, over the bundle's own defaults.
        threads: CPU threads; 0 takes all cores this process may use, or one for a small model.

    Raises:
        UserError: the bundle is damaged.
        TextmillError: there is no article.
    """
    checksum = bundle.verify(directory)
    tokenizer = Tokenizer.load(directory / bundle.TOKENIZER)
    session = Session(directory, slots=1, threads=threads)
    titles: list[str] = []
    nats, documents, size, tokens = 0.0, 0, 0, 0
    for title, text in articles:
        whole = document(title, text)
        sequence = [tokenizer.end, *tokenizer.encode(whole), tokenizer.end]
        nats += surprise(session, sequence)
        documents += 1
        size += len(whole.encode())
        tokens += len(sequence) - 1
        if len(titles) < samples:
            titles.append(title)
    if not documents:
        raise TextmillError("There is no held-out article to judge the model by.")
    written = list(_write(directory, titles, settings or {}, threads))
    words = [sample.text.split() for sample in written]
    return Scores(
        checksum=checksum,
        documents=documents,
        bytes=size,
        tokens=tokens,
        bits_per_byte=nats / math.log(2) / size,
        perplexity=math.exp(min(nats / tokens, 700.0)),  # past this, exp has no float
        repetition=_repetition(words),
        distinct_1=_distinct(words, 1),
        distinct_2=_distinct(words, 2),
        samples=written,
    )


def surprise(session: Session, sequence: Sequence[int]) -> float:
    """What it costs to predict every token of a sequence but the first, in nats; uses the session's first row."""
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
    """Minus the summed log-probabilities of the targets, from logits of shape (targets, vocabulary)."""
    nats = 0.0
    for first in range(0, len(targets), _ROWS_AT_ONCE):
        rows = logits[first : first + _ROWS_AT_ONCE].astype(np.float64)
        chosen = rows[np.arange(len(rows)), targets[first : first + _ROWS_AT_ONCE]]
        highest = rows.max(axis=1)
        total = highest + np.log(np.exp(rows - highest[:, None]).sum(axis=1))
        nats += float((total - chosen).sum())
    return nats


def _write(directory: Path, titles: list[str], settings: dict[str, Any], threads: int) -> Iterator[Sample]:
    if not titles:
        return
    with inference.Engine(directory, slots=1, threads=threads) as engine:
        for seed, title in enumerate(titles):
            how = Settings.of(engine.defaults, settings, {"seed": seed})
            text = inference.generate(engine, topic_prompt(engine.tokenizer, title), how)
            yield Sample(title, text.text, text.finish)


def _runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


def _repetition(texts: list[list[str]]) -> float:
    runs = [Counter(_runs(words, _REPEATED)) for words in texts]
    total = sum(count.total() for count in runs)
    return sum(count.total() - len(count) for count in runs) / total if total else math.nan


def _distinct(texts: list[list[str]], length: int) -> float:
    runs = [run for words in texts for run in _runs(words, length)]
    return len(set(runs)) / len(runs) if runs else math.nan


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model passed, and why, in sentences with the figures."""

    blessed: bool
    reasons: list[str]


def decide(scores: Scores, reference: Scores, margin_percent: float, reference_name: str = "the reference") -> Verdict:
    """Bless a model whose bits per byte are lower than the reference's by at least the margin, in percent.

    Raises:
        TextmillError: the two were judged on different text.
    """
    if (scores.documents, scores.bytes) != (reference.documents, reference.bytes):
        raise TextmillError(
            f"The model was judged on {scores.bytes:,} bytes and {reference_name} on {reference.bytes:,}; "
            "they compare only on the same text."
        )
    ours, theirs = scores.bits_per_byte, reference.bits_per_byte
    text = f"{scores.documents} held-out document{'s' if scores.documents > 1 else ''}"
    if not math.isfinite(ours):
        return Verdict(False, [f"its bits per byte on {text} are {ours}: the training went wrong"])
    lower = 100 * (theirs - ours) / theirs
    compared = f"{abs(lower):.1f}% {'below' if lower >= 0 else 'above'} the {theirs:.3f} of {reference_name}"
    blessed = ours <= theirs * (1 - margin_percent / 100)
    asked = f"at least {margin_percent:g}% below was asked"
    return Verdict(blessed, [f"its {ours:.3f} bits per byte on {text} are {compared}; {asked}"])


def write_untrained(directory: Path, architecture: Architecture, tokenizer: Tokenizer, seed: int = 1) -> str:
    """Write a bundle with GPT-2's random initialisation, to compare a trained one with; returns its checksum."""
    card = "# An untrained GPT-2\n\nRandom weights, for comparison only.\n"
    made = {"weights": "random", "seed": seed}
    return bundle.write_bundle(directory, weights.initial(architecture, seed), architecture, tokenizer, {}, made, card)
