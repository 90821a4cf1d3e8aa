"""Decide whether a model passes: blessed, undecided or refused, with the reasons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from textmill.evaluation.comparison import Estimate, articles_needed, ratio
from textmill.evaluation.form import FormReport
from textmill.evaluation.memorisation import Memory
from textmill.evaluation.scores import Scores
from textmill.ground.errors import TextmillError
from textmill.settings.evaluation import Evaluate

ENOUGH = 20  # held-out articles
Outcome = Literal["blessed", "undecided", "refused"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a model, and the reasons."""

    outcome: Outcome
    reasons: list[str]  # for this outcome, each as a phrase
    warnings: list[str] = field(default_factory=list)  # for the reviewer; they do not change the outcome

    @property
    def blessed(self) -> bool:
        """Whether the model passed."""
        return self.outcome == "blessed"


@dataclass(frozen=True, slots=True)
class _Finding:
    outcome: Outcome
    sentences: list[str]


def decide(
    scores: Scores,
    reference: Scores,
    name: str,
    memory: Memory,
    settings: Evaluate,
    compressed: Sequence[float] = (),
    form: FormReport | None = None,
) -> Verdict:
    """Decide on a model: it must predict held-out text better than the reference, and must not copy or leak.

    Better or worse means: the paired differences per article say so with 95% confidence. Otherwise the model is
    undecided, unless another check refuses it.

    Args:
        reference: the scores to beat. If they are of the same bundle, the model passes this check.
        name: the reference's name.
        compressed: a compressor's bits for each of the first articles.
        form: the form of the model's texts.

    Raises:
        TextmillError: the two were evaluated on different text.
    """
    findings = [
        _prediction(scores, reference, name, settings.margin_percent),
        *_copying(scores, settings.max_copied_percent),
        *_canaries(memory),
        *_form(form, settings.form),
    ]
    outcomes = {finding.outcome for finding in findings}
    outcome: Outcome = "refused" if "refused" in outcomes else "undecided" if "undecided" in outcomes else "blessed"
    reasons = [sentence for finding in findings if finding.outcome == outcome for sentence in finding.sentences]
    return Verdict(
        outcome, reasons, [*_weak(scores), *_compressor(scores, compressed), *_misshapen(form, settings.form)]
    )


def lead(scores: Scores, reference: Scores) -> Estimate:
    """By how many bits per byte these scores are lower than the reference's, paired by article."""
    fewer = [theirs - ours for ours, theirs in zip(scores.bits, reference.bits, strict=True)]
    return ratio(fewer, scores.sizes)


def _prediction(scores: Scores, reference: Scores, name: str, margin_percent: float) -> _Finding:
    if scores.sizes != reference.sizes:
        raise TextmillError(
            f"The model was evaluated on {scores.bytes:,} bytes and {name} on {reference.bytes:,}; "
            "both need the same text. Run Evaluate again: textmill run --from Evaluate."
        )
    ours, theirs = scores.bits_per_byte, reference.bits_per_byte
    if reference.checksum == scores.checksum:
        return _Finding("blessed", [f"it is {name} itself, {ours:.3f} bits per byte"])
    text = f"{scores.documents:,} held-out article{'s' if scores.documents > 1 else ''}"
    if not math.isfinite(ours):
        return _Finding("refused", [f"its bits per byte on {text} are {ours}; the training diverged"])
    found = lead(scores, reference)
    percent = found.times(100 / theirs)
    compared = (
        f"{ours:.3f} bits per byte on {text}, {abs(percent.mean):.1f}% {'better' if percent.mean >= 0 else 'worse'} than "
        f"the {theirs:.3f} of {name} ({_interval(percent)}required: {margin_percent:g}% better)"
    )
    if found.high < 0:
        return _Finding("refused", [compared])
    if found.low <= 0:
        return _Finding("undecided", [compared, _indistinguishable(found, name, margin_percent / 100 * theirs)])
    if percent.mean < margin_percent:
        return _Finding("undecided", [compared, f"better than {_short(name)}, but by less than required"])
    return _Finding("blessed", [compared])


def _weak(scores: Scores) -> list[str]:
    if scores.documents >= ENOUGH:
        return []
    articles = f"{scores.documents} held-out article{'s' if scores.documents > 1 else ''}"
    return [f"weak verdict: only {articles}; at least {ENOUGH} are recommended"]


def _misshapen(form: FormReport | None, policy: str) -> list[str]:
    return form.failures() if form and policy == "warn" else []


def _form(form: FormReport | None, policy: str) -> list[_Finding]:
    if form is None:
        return []
    failures = form.failures()
    if failures and policy == "warn":
        return []
    return [_Finding("refused", failures) if failures else _Finding("blessed", [form.summary()])]


def lead_over(compressed: Sequence[float], scores: Scores) -> Estimate:
    """By how many bits per byte these scores are lower than a compressor's, on the articles it compressed."""
    pairs = zip(compressed, scores.bits, strict=False)
    return ratio([theirs - ours for theirs, ours in pairs], scores.sizes[: len(compressed)])


def _compressor(scores: Scores, compressed: Sequence[float]) -> list[str]:
    if not compressed or not lead_over(compressed, scores).mean < 0:
        return []
    size = sum(scores.sizes[: len(compressed)])
    theirs, ours = sum(compressed) / size, sum(scores.bits[: len(compressed)]) / size
    return [
        f"a compressor predicts these articles better than this model: {theirs:.3f} bits per byte against {ours:.3f}"
    ]


def _interval(percent: Estimate) -> str:
    return f"95% interval {percent.low:.1f}% to {percent.high:.1f}%; " if math.isfinite(percent.low) else ""


def _indistinguishable(found: Estimate, name: str, margin: float) -> str:
    """The reason for an undecided verdict.

    Args:
        margin: required difference in bits per byte.
    """
    articles = f"{found.articles:,} article{'s' if found.articles > 1 else ''}"
    needed = articles_needed(found, max(abs(found.mean), margin))
    more = f"about {needed:,} would settle it" if needed and needed > found.articles else "more would be needed"
    return f"not distinguishable from {_short(name)} with {articles}; {more}"


def _short(name: str) -> str:
    return name.removesuffix(" in Production")


def _copying(scores: Scores, most_percent: float) -> list[_Finding]:
    if math.isnan(scores.copied):
        return []
    percent = 100 * scores.copied
    sentence = (
        f"{percent:.1f}% of the {scores.passages:,} 30-token passages in its texts are copied from the training text "
        f"(limit: {most_percent:g}%)"
    )
    return [_Finding("blessed" if percent <= most_percent else "refused", [sentence])]


def _canaries(memory: Memory) -> list[_Finding]:
    if not memory.canaries:
        return []
    known = [canary for canary in memory.canaries if canary.memorised]
    if not known:
        return [_Finding("blessed", [f"it completes 0 of {len(memory.canaries)} canaries"])]
    named = ", ".join(f"'{canary.shown} …'" for canary in known[:3])
    count = f"{len(known)} of {len(memory.canaries)} canaries"
    return [_Finding("refused", [f"it completes {count}: {named}"])]
