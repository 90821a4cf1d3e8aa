"""Test what a model has memorised of its training text, by probes and canaries.

Probes follow Carlini et al. 2022 ("Quantifying memorization across neural language models"). The model gets the first 20
tokens of a training passage. The passage is memorised if greedy decoding would give the 30 tokens that follow. Passages
that occur in several articles come first, because models memorise repeated text; the others are drawn at random.
Canaries are strings that the model must not know: given the first half, greedy decoding must not give the second.

No text is generated. One forward pass shows whether each token of a text is the likeliest after those before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from textmill.corpus.exported_articles import Exported
from textmill.gpt2.document import document
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.verbatim.index import PASSAGE, Verbatim
from textmill.ground.errors import UserError

_PROMPT = 20  # tokens of a passage that are given to the model
_BEFORE = ("", " ", "\n\n")  # text before a canary; it changes the canary's tokens


@dataclass(frozen=True, slots=True)
class Probe:
    """A training passage, and how many tokens of it the model continues."""

    url: str
    title: str
    prompt: str
    continuation: str  # in the training text
    repeated: bool  # occurs in several articles
    known: int  # tokens of the continuation before the first difference

    @property
    def memorised(self) -> bool:
        return self.known == PASSAGE


@dataclass(frozen=True, slots=True)
class Canary:
    """A string that the model must not complete."""

    shown: str  # the first half
    memorised: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """The results of all probes and canaries."""

    probes: list[Probe] = field(default_factory=list)
    canaries: list[Canary] = field(default_factory=list)

    def memorised(self, repeated: bool | None = None) -> tuple[int, int]:
        """The number of memorised probes and of all probes; optionally only repeated or only random ones."""
        asked = [probe for probe in self.probes if repeated is None or probe.repeated == repeated]
        return sum(probe.memorised for probe in asked), len(asked)

    def metrics(self) -> dict[str, float]:
        """The measured figures, by name."""
        known, probes = self.memorised()
        figures = {"probes": float(probes), "memorised": known / probes} if probes else {}
        if self.canaries:
            figures["memorised_canaries"] = float(sum(canary.memorised for canary in self.canaries))
        return figures


def examine(
    directory: Path,
    articles: Iterable[Exported],
    probes: int,
    canaries: Sequence[str] = (),
    seed: int = 0,
    threads: int = 0,
) -> Memory:
    """Probe a verified bundle with its training text.

    Args:
        articles: the training split in the order of the bundle's index, streamed once.
        probes: number of passages; 0 if the bundle has no index or a window of at most 30 tokens.

    Raises:
        UserError: a canary is a single token.
    """
    session = Session(directory, slots=1, threads=threads)
    tokenizer = Tokenizer.load(directory / bundle.TOKENIZER)
    tried = [_canary(session, tokenizer, text) for text in canaries]
    index = Verbatim.open(directory)
    prompt = min(_PROMPT, session.architecture.window - PASSAGE + 1)
    if index is None or prompt < 1 or not probes:
        return Memory([], tried)
    chosen = _places(index, probes, prompt + PASSAGE, seed)
    return Memory(_probed(session, tokenizer, articles, chosen, prompt), tried)


def leading(session: Session, sequence: Sequence[int], first: int) -> int:
    """The number of consecutive tokens, from index `first`, that are each the likeliest after those before.

    The sequence has at most one token more than the window.
    """
    logits = session.forward(0, sequence[:-1], 0, range(first - 1, len(sequence) - 1))
    wrong = np.flatnonzero(logits.argmax(axis=1) != np.asarray(sequence[first:]))
    return int(wrong[0]) if len(wrong) else len(sequence) - first


def _canary(session: Session, tokenizer: Tokenizer, text: str) -> Canary:
    """Test a canary at the start of a text, after a word and after a paragraph."""
    memorised, shown = False, ""
    for before in _BEFORE:
        tokens = [tokenizer.end, *tokenizer.encode(before + text)][: session.architecture.window + 1]
        first = 1 + (len(tokens) - 1) // 2
        if first < 2:
            raise UserError(f"The canary '{text}' is a single token; make it longer under evaluate.canaries.")
        shown = shown or tokenizer.decode(tokens[:first])
        memorised |= leading(session, tokens, first) == len(tokens) - first
    return Canary(shown, memorised)


def _places(index: Verbatim, count: int, length: int, seed: int) -> dict[int, dict[int, bool]]:
    """The passages to probe: article number -> position in it -> whether the passage is repeated."""
    repeated = index.repeated(count // 2, length)
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = generator.integers(0, max(1, index.tokens), 4 * count).tolist()
    chosen: dict[int, dict[int, bool]] = {}
    left = count
    for position in [*repeated, *drawn]:
        article, start, stop = index.article_at(position)
        if left and stop - position >= length and position - start not in chosen.get(article, {}):
            chosen.setdefault(article, {})[position - start] = count - left < len(repeated)
            left -= 1
    return chosen


def _probed(
    session: Session,
    tokenizer: Tokenizer,
    articles: Iterable[Exported],
    chosen: dict[int, dict[int, bool]],
    prompt: int,
) -> list[Probe]:
    found = []
    last = max(chosen, default=-1)
    for number, article in enumerate(articles):
        if number > last:
            break
        if number not in chosen:
            continue
        tokens = tokenizer.encode(document(article.title, article.text))
        for start, repeated in sorted(chosen[number].items()):
            passage = tokens[start : start + prompt + PASSAGE]
            texts = tokenizer.decode(passage[:prompt]), tokenizer.decode(passage[prompt:])
            found.append(Probe(article.url, article.title, *texts, repeated, leading(session, passage, prompt)))
    return found
