"""Measure the effect of the title (topic gain) and the calibration of the predicted probabilities.

Topic gain: an article's bits after another article's title, less its bits after its own title, per byte. Only text in
the same window as the title counts. 0 means that titles have no effect.

Calibration (Guo et al. 2017): in a calibrated model, the likeliest next token is right as often as its probability says.
Predictions are grouped by this probability into ten bins.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from textmill.corpus.exported_articles import Exported
from textmill.evaluation.comparison import Estimate, ratio
from textmill.gpt2.document import topic_prompt
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import Tokenizer

BINS = 10
_ARTICLES = 200  # measured, at most


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions with similar probabilities."""

    tokens: int
    probability: float  # average
    right: Estimate  # share of right predictions, with its interval over the articles


@dataclass(frozen=True, slots=True)
class Insight:
    """Topic gain and calibration of a model."""

    topic_gain: Estimate | None = None  # bits per byte
    bins: list[Bin] = field(default_factory=list)  # bins that are not empty, by rising probability

    @property
    def miscalibration(self) -> float:
        """The average error of the probability over all predictions; NaN without any."""
        total = sum(each.tokens for each in self.bins)
        off = sum(each.tokens * abs(each.right.mean - each.probability) for each in self.bins)
        return off / total if total else math.nan

    def metrics(self) -> dict[str, float]:
        """The finite figures by name."""
        found = {"miscalibration": self.miscalibration}
        if self.topic_gain:
            found["topic_gain"] = self.topic_gain.mean
        return {name: value for name, value in found.items() if math.isfinite(value)}


def examine(directory: Path, articles: Iterable[Exported], threads: int = 0) -> Insight:
    """Measure a verified bundle on the first held-out articles."""
    session = Session(directory, slots=1, threads=threads)
    tokenizer = Tokenizer.load(directory / bundle.TOKENIZER)
    held = list(islice(articles, _ARTICLES))
    gains: list[float] = []
    sizes: list[int] = []
    counted = np.zeros((len(held), BINS, 3))  # tokens, sum of probabilities, right ones
    for number, article in enumerate(held):
        other = held[(number + 1) % len(held)].title  # neighbours are unrelated: the order is by hash
        own, text = _text_after(session, tokenizer, article.title, article.text)
        counted[number] = _count(own, text)
        if other == article.title or not len(text):
            continue
        foreign, after = _text_after(session, tokenizer, other, article.text)
        shared = min(len(text), len(after))  # a longer title leaves less room for text
        gains.append((_nats(foreign, after, shared) - _nats(own, text, shared)) / math.log(2))
        sizes.append(len(tokenizer.decode(text[:shared].tolist()).encode()))
    return Insight(ratio(gains, sizes) if gains else None, _bins(counted))


def _text_after(session: Session, tokenizer: Tokenizer, title: str, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities, shape (tokens, vocabulary), of the part of a text that fits one window with a title; its tokens."""
    window = session.architecture.window
    prompt = topic_prompt(tokenizer, title)[: window // 2]
    tokens = tokenizer.encode(text)[: window - len(prompt)]
    sequence = [*prompt, *tokens]
    if not tokens:
        return np.zeros((0, 1)), np.zeros(0, np.int64)
    logits = session.forward(0, sequence[:-1], 0, range(len(prompt) - 1, len(sequence) - 1)).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits, np.array(tokens)


def _nats(scores: np.ndarray, tokens: np.ndarray, count: int) -> float:
    return -float(scores[np.arange(count), tokens[:count]].sum())


def _count(scores: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Per bin: number of predictions, sum of their probabilities, number of right ones; shape (bins, 3)."""
    if not len(tokens):
        return np.zeros((BINS, 3))
    best = scores.argmax(axis=1)
    sure = np.exp(scores[np.arange(len(tokens)), best])
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    columns = (np.ones(len(tokens)), sure, (best == tokens).astype(np.float64))
    return np.stack([np.bincount(places, column, BINS) for column in columns], axis=1)


def _bins(counted: np.ndarray) -> list[Bin]:
    found = []
    for tokens, sums, right in counted.transpose(1, 2, 0):
        if total := int(tokens.sum()):
            found.append(Bin(total, float(sums.sum() / total), ratio(_listed(right), _listed(tokens))))
    return found


def _listed(values: np.ndarray) -> Sequence[float]:
    return [float(value) for value in values]
