"""Does what a model writes have the form of what it learned from? Line breaks, words, endings, loops.

The bounds come from the training text, cut to as many tokens as the model was let write: a model is judged by what its
own corpus looks like, a list of recipes as well as a novel. They are wide: what passes may still read badly, but what
fails is broken.
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

# a character of a script without spaces is a word, elsewhere letters with apostrophes inside
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+(?:['’][^\W\d_]+)*")
_ARTICLES = 2000  # of the training text, by which the bounds are set
_VOCABULARY = 100_000  # articles in which the written words are looked for
_PERIOD = 20  # words of a phrase that a loop repeats, at most
_LINE_BREAKS = 0.02  # of the characters, that no text is refused for: an empty line in a hundred
_LOOP = 12  # words that no text is refused for
_BY_CHANCE = 0.01  # of an unlucky draw of endings


@dataclass(frozen=True, slots=True)
class Form:
    """Figures of some texts; or the bounds of these figures."""

    line_breaks: float  # share of the characters
    words: float  # of a text, on average
    known: float  # share of the words that the training text has
    ended: float  # share of the texts that end by themselves
    loop: int  # words of the longest stretch that repeats a phrase again and again


@dataclass(frozen=True, slots=True)
class FormReport:
    """What a model's texts look like, and what they should."""

    found: Form
    usual: Form  # of the training text
    bounds: Form  # at most so many line breaks and so long a loop; of the others at least

    def failures(self) -> list[str]:
        """What is out of bounds, in sentences."""
        found, usual, bounds = self.found, self.usual, self.bounds
        checks = [
            (
                found.line_breaks <= bounds.line_breaks,
                f"{found.line_breaks:.1%} of the characters it wrote are line breaks; the training text has "
                f"{usual.line_breaks:.1%}, at most {bounds.line_breaks:.1%} was asked",
            ),
            (
                found.words >= bounds.words,
                f"its texts have {found.words:.0f} words on average; the training text has {usual.words:.0f} in as many "
                f"tokens, at least {bounds.words:.0f} was asked",
            ),
            (
                found.known >= bounds.known,
                f"{found.known:.1%} of the words it wrote are words of the training text; at least {bounds.known:.1%} was asked",
            ),
            (
                found.ended >= bounds.ended,
                f"{found.ended:.0%} of its texts end by themselves; {usual.ended:.0%} of the training text's do, at least "
                f"{bounds.ended:.0%} was asked",
            ),
            (
                found.loop <= bounds.loop,
                f"a text repeats the same words over {found.loop} words; at most {bounds.loop} was asked",
            ),
        ]
        return [sentence for passed, sentence in checks if not passed]

    def summary(self) -> str:
        """The figures in a sentence."""
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
    """Compare what a model wrote with its training text; None where there is nothing to compare.

    Args:
        learned: the training split; read once, not kept.
        tokens: that each sample had at most.
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
    """The figures of texts, each with whether it ended by itself; without known words their share is given."""
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
    """How many words the longest stretch has in which a phrase comes at least twice in a row; 0 where none does."""
    longest = 0
    for period in range(1, min(_PERIOD, len(words) // 2) + 1):
        run = 0
        for place in range(period, len(words)):
            run = run + 1 if words[place] == words[place - period] else 0
            if run >= period:
                longest = max(longest, run + period)
    return longest


def _known(words: Sequence[Counter[str]]) -> float:
    """The share of an article's words that the others have, on average over the words."""
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
    """The least share of so many draws that is not rarer than once in a hundred."""
    from scipy.special import bdtr  # half a second to import

    return next(hits for hits in range(count + 1) if bdtr(hits, count, share) > _BY_CHANCE) / count
