"""The tables of the evaluation page: figures, form, calibration, lineage and settings."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from textmill.evaluation.comparison import Estimate
from textmill.evaluation.compressor import NAME
from textmill.evaluation.form import FormReport
from textmill.evaluation.result import Judged, Judgement
from textmill.evaluation.scores import Scores
from textmill.evaluation.topics import Insight

NOT_MEASURED = Markup('<span class="none">not measured</span>')


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row names it. Cells that are not Markup are escaped."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def _named(name: str, meaning: str) -> Markup:
    return Markup("{} <small>{}</small>").format(name, meaning)


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else NOT_MEASURED


def figures(judgement: Judgement) -> Table:
    columns = [judgement.model] if judgement.is_reference else [judgement.model, judgement.reference]
    figures = [_column(judged) for judged in columns]
    compressor = {"bits per byte": _number(judgement.compressor_bits_per_byte, ".3f")}
    uniform = {
        "bits per byte": f"{judgement.uniform_bits_per_byte:.3f}",
        "perplexity per token": f"{judgement.vocabulary:,}",
    }
    rows = [
        [
            _named(name, said),
            *(figure[name] for figure in figures),
            compressor.get(name, ""),
            uniform.get(name, ""),
        ]
        for name, said in _MEANINGS.items()
    ]
    return Table(["", *(judged.name for judged in columns), NAME, "uniform model"], rows)


def figures_note(judgement: Judgement) -> str:
    scores = judgement.model.scores
    return (
        f"Measured on {scores.documents:,} articles ({scores.bytes:,} bytes) that no training used. In the uniform model, "
        "every token is equally likely. Bits per byte compare any two models. Perplexities compare only models with the "
        "same tokenizer. The compressor was given the training text, then each of the first "
        f"{len(judgement.compressed)} articles.{_led(judgement)}"
    )


def _led(judgement: Judgement) -> str:
    """The paired difference in a sentence."""
    lead = judgement.lead
    if judgement.is_reference or not math.isfinite(lead.low):
        return ""
    return (
        f" Paired by article, this model needs {lead.mean:.3f} bits per byte fewer than {judgement.reference.name} "
        f"(95% interval {lead.low:.3f} to {lead.high:.3f})."
    )


_MEANINGS = {
    "bits per byte": "lower is better",
    "perplexity per token": "lower is better",
    "copied passages": "30-token passages that it copied from its training text",
    "memorised passages": "training passages that it continues word for word",
    "canaries completed": "must be 0",
    "repetition": "four-word phrases that occurred earlier in the same text",
    "different words": "as a share of all words (distinct-1)",
    "different pairs of words": "as a share of all pairs (distinct-2)",
}


def _column(judged: Judged) -> dict[str, str]:
    scores, memory = judged.scores, judged.memory
    known, probes = memory.memorised()
    canaries = sum(canary.memorised for canary in memory.canaries)
    return {
        "bits per byte": _number(scores.bits_per_byte, ".3f"),
        "perplexity per token": _number(scores.perplexity, ",.1f"),
        "copied passages": _copied(scores),
        "memorised passages": f"{known} of {probes}" if probes else NOT_MEASURED,
        "canaries completed": f"{canaries} of {len(memory.canaries)}" if memory.canaries else "none configured",
        "repetition": _number(scores.repetition, ".1%"),
        "different words": _number(scores.distinct_1, ".1%"),
        "different pairs of words": _number(scores.distinct_2, ".1%"),
    }


def _copied(scores: Scores) -> str:
    if math.isnan(scores.copied):
        return NOT_MEASURED
    return f"{scores.copied:.1%} of {scores.passages:,}"


def form(form: FormReport | None) -> Table | None:
    if form is None:
        return None
    rows = [
        [
            _named(name, said),
            *(f"{getattr(each, field):{spec}}" for each in (form.found, form.usual)),
            f"{bound} {getattr(form.bounds, field):{spec}}",
        ]
        for field, name, said, spec, bound in _FORM
    ]
    return Table(["", "this model", "training text", "limit"], rows)


_FORM = (  # field, name, meaning, format, direction of the limit
    ("line_breaks", "line breaks", "share of the characters", ".1%", "at most"),
    ("words", "words", "average per text", ".0f", "at least"),
    ("known", "known words", "share of the words that the training text has", ".1%", "at least"),
    ("ended", "ended by itself", "share of the texts", ".0%", "at least"),
    ("loop", "longest loop", "words in which a phrase repeats", "d", "at most"),
)


def calibration(insight: Insight) -> Table | None:
    if not insight.bins:
        return None
    rows = [
        [f"{each.probability:.1%}", f"{each.right.mean:.1%}", _range(each.right, ".1%"), f"{each.tokens:,}"]
        for each in insight.bins
    ]
    return Table(["probability", "right", "95% interval", "tokens"], rows)


def calibration_note(insight: Insight) -> str:
    gain = insight.topic_gain
    steers = (
        f"An article needs {gain.mean:.3f} bits per byte fewer after its own title than after another's "
        f"({_range(gain, '.3f')}). At 0, titles would have no effect. "
        if gain
        else ""
    )
    return (
        f"{steers}Calibration: how often the likeliest next token is right, by the probability that the model gives it. "
        f"The probability is off by {insight.miscalibration:.1%} on average."
    )


def _range(estimate: Estimate, spec: str) -> str:
    if not math.isfinite(estimate.low):
        return NOT_MEASURED
    return f"{estimate.low:{spec}} to {estimate.high:{spec}}"


def lineage(lineage: dict[str, Any]) -> dict[str, Table]:
    """The tables of the model's origin and of its sources."""
    corpus = lineage.get("corpus", {})
    facts = {
        "snapshot": f"{corpus.get('snapshot', '')} of {corpus.get('time', '')}",
        "digest": str(corpus.get("digest", "")),
        "articles": _counts(corpus.get("articles", {})),
        "bytes": _counts(corpus.get("bytes", {})),
        "base": " ".join(str(value) for value in lineage.get("base", {"name": "scratch"}).values() if value),
        "trained": ", ".join(f"{name} {value}" for name, value in lineage.get("trained", {}).items()),
        "Textmill": f"{lineage.get('textmill', '')}, code {lineage.get('code', '')}",
    }
    sources = [(str(name), f"{count:,}") for name, count in corpus.get("sources", {}).items()]
    return {"lineage": Table(["", ""], list(facts.items())), "sources": Table(["source", "articles"], sources)}


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def settings(judgement: Judgement) -> Table:
    settings = dict(judgement.lineage.get("settings", {})) | {"evaluate": judgement.settings.model_dump()}
    return Table(["", ""], [(name, str(value)) for name, value in _flat(settings)])


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
