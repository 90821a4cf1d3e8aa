"""Is a model good enough? Yes or no, with the reasons in sentences and figures."""

import math
from dataclasses import dataclass

from textmill.evaluation.memorisation import Memory
from textmill.evaluation.scores import Scores
from textmill.ground.errors import TextmillError
from textmill.settings.evaluation import Evaluate


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model passed, and why."""

    blessed: bool
    reasons: list[str]  # of a refused model, those that speak against it; of a blessed one, all that was asked


@dataclass(frozen=True, slots=True)
class _Finding:
    passed: bool
    sentence: str


def decide(scores: Scores, reference: Scores, name: str, memory: Memory, settings: Evaluate) -> Verdict:
    """Bless a model that predicts held-out text better than the reference by the margin, and gives nothing away.

    Args:
        reference: the scores to beat; those of the same bundle are not beaten, and need not be.
        name: whose they are.

    Raises:
        TextmillError: the two were judged on different text.
    """
    findings = [
        _prediction(scores, reference, name, settings.margin_percent),
        *_copying(scores, settings.max_copied_percent),
        *_canaries(memory),
    ]
    blessed = all(finding.passed for finding in findings)
    return Verdict(blessed, [finding.sentence for finding in findings if finding.passed == blessed])


def _prediction(scores: Scores, reference: Scores, name: str, margin_percent: float) -> _Finding:
    if (scores.documents, scores.bytes) != (reference.documents, reference.bytes):
        raise TextmillError(
            f"The model was judged on {scores.bytes:,} bytes and {name} on {reference.bytes:,}; "
            "they compare only on the same text."
        )
    ours, theirs = scores.bits_per_byte, reference.bits_per_byte
    if reference.checksum == scores.checksum:
        return _Finding(True, f"it is {name} itself, {ours:.3f} bits per byte")
    text = f"{scores.documents} held-out document{'s' if scores.documents > 1 else ''}"
    if not math.isfinite(ours):
        return _Finding(False, f"its bits per byte on {text} are {ours}: the training went wrong")
    lower = 100 * (theirs - ours) / theirs
    compared = f"{abs(lower):.1f}% {'below' if lower >= 0 else 'above'} the {theirs:.3f} of {name}"
    asked = f"at least {margin_percent:g}% below was asked"
    return _Finding(
        ours <= theirs * (1 - margin_percent / 100), f"its {ours:.3f} bits per byte on {text} are {compared}; {asked}"
    )


def _copying(scores: Scores, most_percent: float) -> list[_Finding]:
    if math.isnan(scores.copied):
        return []
    percent = 100 * scores.copied
    sentence = (
        f"{percent:.1f}% of the {scores.passages:,} passages of 30 tokens it wrote stand word for word in the training text; "
        f"at most {most_percent:g}% was asked"
    )
    return [_Finding(percent <= most_percent, sentence)]


def _canaries(memory: Memory) -> list[_Finding]:
    if not memory.canaries:
        return []
    known = [canary for canary in memory.canaries if canary.memorised]
    if not known:
        return [_Finding(True, f"it completes 0 of {len(memory.canaries)} canaries")]
    named = ", ".join(f"'{canary.shown} …'" for canary in known[:3])
    count = f"{len(known)} of {len(memory.canaries)} canaries"
    return [_Finding(False, f"it completes {count}, which it must not know: {named}")]
