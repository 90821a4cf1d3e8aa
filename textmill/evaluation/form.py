"""The form of a model's texts, compared with its training text: line breaks, words, endings, loops.

The limits come from the training text, cut to the samples' number of tokens. So a corpus of recipes has other limits
than a novel. The limits are wide: a model that passes may still write badly, but one that fails is broken.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np

from textmill.corpus.exported_articles import Exported
from textmill.evaluation.scores import Sample
from textmill.gpt2.tokenizer import Tokenizer

# in scripts without spaces, each character is a word; elsewhere letters, with apostrophes inside
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+(?:['’][^\W\d_]+)*")
_ARTICLES = 2000  # of the training text, used for the limits
_VOCABULARY = 100_000  # articles searched for the written words
_PERIOD = 20  # words in the phrase of a loop, at most
_LINE_BREAKS = 0.02  # share of the characters that is always allowed
_LOOP = 12  # words, always allowed
_BY_CHANCE = 0.01  # probability of the worst allowed draw of endings


@dataclass(frozen=True, slots=True)
class Form:
    """Figures of some texts, or the limits of these figures."""

    line_breaks: float  # share of the characters
    words: float  # average per text
    known: float  # share of the words that occur in the training text
    ended: float  # share of the texts with an end token
    loop: int  # words in the longest repetition of one phrase


@dataclass(frozen=True, slots=True)
class FormReport:
    """The form of a model's texts, and its limits."""

    found: Form
    usual: Form  # of the training text
    bounds: Form  # maxima of line_breaks and loop, minima of the others

    def failures(self) -> list[str]:
        """The figures outside their limits, each as a phrase."""
        found, usual, bounds = self.found, self.usual, self.bounds
        checks = [
            (
                found.line_breaks <= bounds.line_breaks,
                f"{found.line_breaks:.1%} of the characters in its texts are line breaks (training text: "
                f"{usual.line_breaks:.1%}; limit: {bounds.line_breaks:.1%})",
            ),
            (
                found.words >= bounds.words,
                f"its texts have {found.words:.0f} words on average (training text, cut to the same tokens: "
                f"{usual.words:.0f}; required: {bounds.words:.0f})",
            ),
            (
                found.known >= bounds.known,
                f"{found.known:.1%} of the words in its texts occur in the training text (required: {bounds.known:.1%})",
            ),
            (
                found.ended >= bounds.ended,
                f"{found.ended:.0%} of its texts end by themselves (training text: {usual.ended:.0%}; required: "
                f"{bounds.ended:.0%})",
            ),
            (
                found.loop <= bounds.loop,
                f"one of its texts repeats a phrase over {found.loop} words (limit: {bounds.loop})",
            ),
        ]
        return [sentence for passed, sentence in checks if not passed]

    def summary(self) -> str:
        """The figures as one phrase."""
        found = self.found
        return (
            f"its texts have the form of the training text: {found.line_breaks:.1%} line breaks, {found.words:.0f} words, "
            f"{found.known:.1%} known words, {found.ended:.0%} end by themselves, longest loop {found.loop} words"
        )

    def metrics(self) -> dict[str, float]:
        """The figures by name."""
        return {f"form_{name}": float(value) for name, value in asdict(self.found).items()}


def report(
    samples: Sequence[Sample], learned: Iterable[Exported], tokenizer: Tokenizer, tokens: int
) -> FormReport | None:
    """Compare the form of samples with the training text; None if either is empty.

    Args:
        learned: the training split, streamed once.
        tokens: maximum tokens per sample.
    """
    wanted = {word for sample in samples for word in words_of(sample.text)}
    known: set[str] = set()
    cut: list[tuple[str, bool]] = []
    words: list[Counter[str]] = []
    for article in islice(learned, _VOCABULARY):
        counts = Counter(words_of(article.text))
        known |= wanted & (counts.keys() | set(words_of(article.title)))
        if len(cut) < _ARTICLES:
            words.append(counts)
            encoded = tokenizer.encode(article.text)
            cut.append((tokenizer.decode(encoded[:tokens]), len(encoded) < tokens))
    if not samples or not cut:
        return None
    found = form_of([(sample.text, sample.finish == "end") for sample in samples], known)
    usual = form_of(cut, None, _known(words))
    return FormReport(found, usual, _bounds(usual, [text for text, _ in cut], len(samples)))


def form_of(texts: Sequence[tuple[str, bool]], known: set[str] | None, share: float = 1.0) -> Form:
    """The figures of texts.

    Args:
        texts: each with whether it ended by itself.
        known: words of the training text; None: `share` is the share of known words.
    """
    words = [words_of(text) for text, _ in texts]
    total = sum(map(len, words))
    if known is not None:
        share = sum(word in known for each in words for word in each) / total if total else 0.0
    characters = sum(len(text) for text, _ in texts)
    return Form(
        line_breaks=sum(text.count("\n") for text, _ in texts) / characters if characters else 0.0,
        words=total / len(texts),
        known=share,
        ended=sum(ended for _, ended in texts) / len(texts),
        loop=max(map(longest_loop, words)),
    )


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def longest_loop(words: Sequence[str]) -> int:
    """Words in the longest stretch that repeats one phrase at least twice in a row; 0 if there is none."""
    longest = 0
    for period in range(1, min(_PERIOD, len(words) // 2) + 1):
        run = 0
        for place in range(period, len(words)):
            run = run + 1 if words[place] == words[place - period] else 0
            if run >= period:
                longest = max(longest, run + period)
    return longest


def _known(words: Sequence[Counter[str]]) -> float:
    """The average share of an article's words that occur in other articles."""
    articles = Counter(word for counts in words for word in counts)
    alone = sum(count for counts in words for word, count in counts.items() if articles[word] == 1)
    total = sum(counts.total() for counts in words)
    return 1 - alone / total if total else 0.0


def _bounds(usual: Form, texts: Sequence[str], samples: int) -> Form:
    shares = [text.count("\n") / len(text) for text in texts if text]
    return Form(
        line_breaks=max(2 * usual.line_breaks, float(np.quantile(shares or [0.0], 0.95)), _LINE_BREAKS),
        words=usual.words / 2,
        known=1 - max(3 * (1 - usual.known), 0.15),
        ended=_unlucky(usual.ended / 2, samples),
        loop=max(usual.loop, _LOOP),
    )


def _unlucky(share: float, count: int) -> float:
    """The lowest share of hits in `count` draws that has a probability above 1%."""
    from scipy.special import bdtr  # half a second to import

    return next(hits for hits in range(count + 1) if bdtr(hits, count, share) > _BY_CHANCE) / count
