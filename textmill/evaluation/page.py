"""The page on which a reviewer sees in a minute whether a model is good enough, and what speaks against it.

It stands alone: no script, nothing fetched, light and dark. Titles, addresses and texts come from web sites and from a
model that learned from them, so every one is escaped, only web addresses become links, and the page's own policy forbids
scripts.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from textmill.evaluation.comparison import Estimate
from textmill.evaluation.compressor import NAME
from textmill.evaluation.form import FormReport
from textmill.evaluation.memorisation import Memory, Probe
from textmill.evaluation.plots import Line, Row, curves, strips
from textmill.evaluation.result import Judged, Judgement
from textmill.evaluation.scores import Sample, Scores
from textmill.evaluation.topics import Insight
from textmill.gpt2.verbatim.index import Run

_PROBES = 8  # shown
_SOURCES = 12  # shown in the plot
_NOT_MEASURED = '<span class="none">not measured</span>'


def render(judgement: Judgement) -> str:
    """The page, as HTML."""
    name = escape(str(judgement.lineage.get("name", "model")))
    style = files("textmill.evaluation").joinpath("page.css").read_text(encoding="utf-8")
    sections = [
        _verdict(judgement, name),
        _figures(judgement),
        _form(judgement.model.form),
        _insight(judgement.model.insight),
        _plots(judgement),
        _samples(judgement),
        _memory(judgement.model.memory),
        _lineage(judgement.lineage),
        _settings(judgement),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>Evaluation of {name}</title>
<style>
{style}</style>
</head>
<body>
<main>
{"".join(sections)}</main>
</body>
</html>
"""


def _verdict(judgement: Judgement, name: str) -> str:
    verdict = judgement.verdict
    css = {"blessed": "good", "undecided": "open", "refused": "bad"}[verdict.outcome]
    return (
        f'<header><h1>{name}</h1><p class="verdict {css}">{verdict.outcome.capitalize()}</p>'
        f"{_sentences(verdict.reasons, 'reasons')}{_sentences(verdict.warnings, 'warnings')}</header>\n"
    )


def _sentences(said: Sequence[str], css: str) -> str:
    items = "".join(f"<li>{escape(each[:1].upper() + each[1:])}.</li>" for each in said)
    return f'<ul class="{css}">{items}</ul>' if items else ""


def _section(title: str, content: str, said: str = "") -> str:
    note = f'<p class="note">{said}</p>' if said else ""
    return f"<section><h2>{title}</h2>{note}{content}</section>\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], css: str = "") -> str:
    """A table of cells that are HTML; a row's first cell names it."""
    names = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    )
    return f'<div class="wide"><table class="{css}"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else _NOT_MEASURED


def _figures(judgement: Judgement) -> str:
    columns = [judgement.model] if judgement.is_reference else [judgement.model, judgement.reference]
    uniform = {
        "bits per byte": f"{judgement.uniform_bits_per_byte:.3f}",
        "perplexity per token": f"{judgement.vocabulary:,}",
    }
    figures = [_column(judged) for judged in columns]
    compressor = {"bits per byte": _number(judgement.compressor_bits_per_byte, ".3f")}
    rows = [
        [
            f"{name} <small>{said}</small>",
            *(figure[name] for figure in figures),
            compressor.get(name, ""),
            uniform.get(name, ""),
        ]
        for name, said in _MEANINGS.items()
    ]
    head = ["", *(escape(judged.name) for judged in columns), NAME, "knowing nothing"]
    scores = judgement.model.scores
    said = (
        f"On {scores.documents:,} articles ({scores.bytes:,} bytes) that no training saw. Knowing nothing: every token is "
        "equally likely. Bits per byte compare any two models, perplexities only those with the same tokenizer. "
        f"The compressor was given the training text, then each of the first {len(judgement.compressed)} articles.{_led(judgement)}"
    )
    return _section("Figures", _table(head, rows, "figures"), said)


def _led(judgement: Judgement) -> str:
    """The paired difference in a sentence."""
    lead = judgement.lead
    if judgement.is_reference or not math.isfinite(lead.low):
        return ""
    return (
        f" Article by article, this model takes {lead.mean:.3f} bits per byte fewer than {escape(judgement.reference.name)} "
        f"(95% interval {lead.low:.3f} to {lead.high:.3f})."
    )


_MEANINGS = {
    "bits per byte": "less is better",
    "perplexity per token": "less is better",
    "copied passages": "of 30 tokens it wrote, word for word in its training text",
    "memorised passages": "of its training text, gone on with word for word",
    "canaries completed": "none should be",
    "repetition": "runs of four words that stood in the same text before",
    "different words": "share of all words written (distinct-1)",
    "different pairs of words": "distinct-2",
}


def _column(judged: Judged) -> dict[str, str]:
    scores, memory = judged.scores, judged.memory
    known, probes = memory.memorised()
    canaries = sum(canary.memorised for canary in memory.canaries)
    return {
        "bits per byte": _number(scores.bits_per_byte, ".3f"),
        "perplexity per token": _number(scores.perplexity, ",.1f"),
        "copied passages": _copied(scores),
        "memorised passages": f"{known} of {probes}" if probes else _NOT_MEASURED,
        "canaries completed": f"{canaries} of {len(memory.canaries)}" if memory.canaries else "none configured",
        "repetition": _number(scores.repetition, ".1%"),
        "different words": _number(scores.distinct_1, ".1%"),
        "different pairs of words": _number(scores.distinct_2, ".1%"),
    }


def _form(form: FormReport | None) -> str:
    if form is None:
        return ""
    rows = [
        [
            f"{name} <small>{said}</small>",
            *(f"{getattr(each, field):{spec}}" for each in (form.found, form.usual)),
            f"{bound} {getattr(form.bounds, field):{spec}}",
        ]
        for field, name, said, spec, bound in _FORM
    ]
    said = "The training text is cut to as many tokens as the model wrote. A model outside of a bound is refused."
    return _section("Form", _table(["", "this model", "training text", "asked"], rows), said)


_FORM = (  # field, name, meaning, format, direction of the bound
    ("line_breaks", "line breaks", "share of the characters", ".1%", "at most"),
    ("words", "words", "of a text, on average", ".0f", "at least"),
    ("known", "known words", "share of the words that the training text has", ".1%", "at least"),
    ("ended", "ended by itself", "share of the texts", ".0%", "at least"),
    ("loop", "longest loop", "words in which a phrase repeats", "d", "at most"),
)


def _insight(insight: Insight) -> str:
    if not insight.bins:
        return ""
    gain = insight.topic_gain
    steers = (
        f"With its own title an article takes {gain.mean:.3f} bits per byte fewer than with another article's "
        f"({_range(gain, '.3f')}); 0 would mean that titles steer nothing. "
        if gain
        else ""
    )
    rows = [
        [f"{each.probability:.1%}", f"{each.right.mean:.1%}", _range(each.right, ".1%"), f"{each.tokens:,}"]
        for each in insight.bins
    ]
    said = (
        f"{steers}Calibration: how often the likeliest next token is right, by the probability that the model gives it. "
        f"On average the probability is off by {insight.miscalibration:.1%}."
    )
    return _section("Topic and calibration", _table(["probability", "right", "95% interval", "tokens"], rows), said)


def _range(estimate: Estimate, spec: str) -> str:
    if not math.isfinite(estimate.low):
        return _NOT_MEASURED
    return f"{estimate.low:{spec}} to {estimate.high:{spec}}"


def _copied(scores: Scores) -> str:
    if math.isnan(scores.copied):
        return _NOT_MEASURED
    return f"{scores.copied:.1%} of {scores.passages:,}"


def _plots(judgement: Judgement) -> str:
    figures = [
        _figure(
            _losses(judgement), "Loss while training, nats per token", _key(("training", "b"), ("validation", "a"))
        ),
        _figure(_articles(judgement), "Bits per byte of each held-out article; upright bars: of all together", ""),
        _figure(
            _by_source(judgement),
            "Bits per byte by source",
            _key(("this model", "a"), (escape(judgement.reference.name), "b")),
        ),
    ]
    return _section("Plots", f'<div class="plots">{figures[0]}<div>{figures[1]}{figures[2]}</div></div>')


def _figure(plot: str, caption: str, key: str) -> str:
    return f"<figure>{plot}<figcaption>{caption}{key}</figcaption></figure>" if plot else ""


def _key(*entries: tuple[str, str]) -> str:
    return "".join(f' <span class="key {css}">{name}</span>' for name, css in entries)


def _losses(judgement: Judgement) -> str:
    def points(name: str) -> list[tuple[float, float]]:
        return [(row["step"], row[name]) for row in judgement.history if math.isfinite(row.get(name, math.nan))]

    held_out = points("held_out_loss")
    best = min(held_out, key=lambda point: point[1], default=None)
    return curves([Line("training", "b", points("loss")), Line("validation", "a", held_out)], "step", "loss", best)


def _articles(judgement: Judgement) -> str:
    columns = [(judgement.model, "a"), (judgement.reference, "b")]
    rows = [
        Row(
            judged.name,
            css,
            [(article.bits_per_byte, article.title) for article in judged.scores.articles],
            judged.scores.bits_per_byte,
            css,
        )
        for judged, css in (columns[:1] if judgement.is_reference else columns)
        if math.isfinite(judged.scores.bits_per_byte)
    ]
    return strips(rows, "bits per byte")


def _by_source(judgement: Judgement) -> str:
    ours, theirs = judgement.model.scores.sources, judgement.reference.scores.sources
    if len(ours) < 2:
        return ""
    names = sorted(ours, key=lambda name: -ours[name].documents)[:_SOURCES]
    rows = []
    for name in names:
        bits = ours[name].bits_per_byte
        mark = theirs[name].bits_per_byte if name in theirs else bits
        rows.append(Row(f"{name} ({ours[name].documents})", "a", [(bits, "this model")], mark, "b"))
    return strips(rows, "bits per byte")


def _samples(judgement: Judgement) -> str:
    shown = judgement.model.scores.samples[: judgement.settings.samples]
    others: Sequence[Sample | None] = judgement.reference.scores.samples
    if judgement.is_reference or not others:
        others = [None] * len(shown)
    rows = []
    for ours, theirs in zip(shown, others, strict=False):
        columns = [_sample("this model", ours)]
        if theirs:
            columns.append(_sample(judgement.reference.name, theirs))
        rows.append(f'<h3>{escape(ours.topic)}</h3><div class="pair">{"".join(columns)}</div>')
    said = (
        "Written on titles of held-out articles. Marked: passages of 30 tokens or more that stand in the training text."
    )
    return _section("Samples", "".join(rows), said)


def _sample(name: str, sample: Sample) -> str:
    sources = {run.url: run.title for run in sample.copied}
    listed = "".join(f"<li>{_link(url, title or url)}</li>" for url, title in sources.items())
    copied = f'<p class="sources">Copied from</p><ul class="sources">{listed}</ul>' if listed else ""
    cut = "" if sample.finish == "end" else ' <span class="none">[cut here]</span>'
    return f"<article><h4>{escape(name)}</h4><p>{marked(sample.text, sample.copied)}{cut}</p>{copied}</article>"


def marked(text: str, runs: Sequence[Run]) -> str:
    """The text as HTML, with the copied stretches marked and linked; where two overlap, the first has what they share."""
    parts, done = [], 0
    for run in sorted(runs, key=lambda run: run.start):
        start = max(done, run.start)
        if run.stop <= start:
            continue
        inside = _lines(text[start : run.stop])
        parts += [_lines(text[done:start]), f"<mark>{_link(run.url, inside, run.title, is_html=True)}</mark>"]
        done = run.stop
    return "".join([*parts, _lines(text[done:])])


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _link(url: str, text: str, title: str = "", is_html: bool = False) -> str:
    """A link where the address is a web address, else the text alone."""
    content = text if is_html else escape(text)
    if not url.lower().startswith(("http://", "https://")):
        return f'<span title="{escape(url)}">{content}</span>'
    said = escape(f"{title} ({url})" if title else url)
    return f'<a href="{escape(url)}" title="{said}" rel="noopener noreferrer nofollow">{content}</a>'


def _memory(memory: Memory) -> str:
    parts = []
    if memory.canaries:
        rows = [
            [f"{escape(canary.shown)} …", '<b class="bad">completed</b>' if canary.memorised else "not completed"]
            for canary in memory.canaries
        ]
        parts.append(_table(["canary, its first half", "by this model"], rows))
    if memory.probes:
        parts.append(f'<p class="note">{_probed(memory)}</p>')
        head = ["where", "given", "in the training text", "of 30 tokens known"]
        shown = sorted(memory.probes, key=lambda probe: -probe.known)[:_PROBES]
        parts.append(_table(head, map(_probe, shown), "probes"))
    return _section("Memory", "".join(parts) or f"<p>{_NOT_MEASURED}</p>")


def _probed(memory: Memory) -> str:
    kinds = [("that stand in several articles", True), ("drawn at random", False)]
    counts = [(*memory.memorised(repeated), said) for said, repeated in kinds]
    said = ", ".join(f"{known} of {count} {kind}" for known, count, kind in counts if count)
    return (
        "Given the first tokens of a passage of the training text, does the model go on with the next 30 word for word? "
        f"It does for {said}. Those it knows best:"
    )


def _probe(probe: Probe) -> list[str]:
    known = f'<b class="bad">{probe.known}</b>' if probe.memorised else str(probe.known)
    return [_link(probe.url, probe.title or probe.url), _lines(probe.prompt), _lines(probe.continuation), known]


def _lineage(lineage: dict[str, Any]) -> str:
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
    rows = [[name, escape(value)] for name, value in facts.items()]
    sources = [[escape(str(name)), f"{count:,}"] for name, count in corpus.get("sources", {}).items()]
    return _section("Lineage", _table(["", ""], rows, "plain") + _table(["source", "articles"], sources))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _settings(judgement: Judgement) -> str:
    settings = dict(judgement.lineage.get("settings", {})) | {"evaluate": judgement.settings.model_dump()}
    rows = [[escape(name), escape(str(value))] for name, value in _flat(settings)]
    return _section(
        "Settings", f"<details><summary>{len(rows)} settings</summary>{_table(['', ''], rows, 'plain')}</details>"
    )


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
