"""The evaluation page: it shows a reviewer whether a model is good enough, and why.

The page stands alone: no script, no request, light and dark. Titles, addresses and texts come from web sites and from a
model trained on them. `page.html` escapes every one, only web addresses become links, and the page's own policy forbids
scripts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from textmill.evaluation import page_tables as tables
from textmill.evaluation.memorisation import Memory, Probe
from textmill.evaluation.page_tables import Table
from textmill.evaluation.plots import Line, Row, curves, strips
from textmill.evaluation.result import Judgement
from textmill.evaluation.scores import Sample
from textmill.gpt2.verbatim.index import Run

_PROBES = 8  # shown
_SOURCES = 12  # shown in the plot
_MARKS = {"blessed": ("✓", "good"), "undecided": ("?", "open"), "refused": ("✗", "bad")}  # and the class


def render(judgement: Judgement) -> str:
    """The page, as HTML."""
    model, memory = judgement.model, judgement.model.memory
    mark, css = _MARKS[judgement.verdict.outcome]
    return (
        _environment()
        .get_template("page.html")
        .render(
            name=str(judgement.lineage.get("name", "model")),
            mark=mark,
            css=css,
            verdict=judgement.verdict,
            reference=judgement.reference.name,
            figures=tables.figures(judgement),
            figures_note=tables.figures_note(judgement),
            form=tables.form(model.form),
            calibration=tables.calibration(model.insight),
            calibration_note=tables.calibration_note(model.insight),
            losses=_losses(judgement),
            articles=_articles(judgement),
            by_source=_by_source(judgement),
            samples=_samples(judgement),
            canaries=_canaries(memory),
            probes=_probes(memory),
            probes_note=_probes_note(memory),
            not_measured=tables.NOT_MEASURED,
            **tables.lineage(judgement.lineage),
            settings=tables.settings(judgement),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(link=_link, lines=_lines)
    return environment


def _losses(judgement: Judgement) -> Markup:
    def points(name: str) -> list[tuple[float, float]]:
        return [(row["step"], row[name]) for row in judgement.history if math.isfinite(row.get(name, math.nan))]

    held_out = points("held_out_loss")
    best = min(held_out, key=lambda point: point[1], default=None)
    return curves([Line("training", "b", points("loss")), Line("validation", "a", held_out)], "step", "loss", best)


def _articles(judgement: Judgement) -> Markup:
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


def _by_source(judgement: Judgement) -> Markup:
    ours, theirs = judgement.model.scores.sources, judgement.reference.scores.sources
    if len(ours) < 2:
        return Markup("")
    names = sorted(ours, key=lambda name: -ours[name].documents)[:_SOURCES]
    rows = []
    for name in names:
        bits = ours[name].bits_per_byte
        mark = theirs[name].bits_per_byte if name in theirs else bits
        rows.append(Row(f"{name} ({ours[name].documents})", "a", [(bits, "this model")], mark, "b"))
    return strips(rows, "bits per byte")


@dataclass(frozen=True, slots=True)
class _Shown:
    """A sample as the page shows it."""

    stretches: list[tuple[str, Run | None]]
    cut: bool  # by its length
    sources: dict[str, str]  # title of each copied article by its URL

    @classmethod
    def of(cls, sample: Sample) -> "_Shown":
        sources = {run.url: run.title for run in sample.copied}
        return cls(stretches(sample.text, sample.copied), sample.finish != "end", sources)


def _samples(judgement: Judgement) -> list[tuple[str, _Shown, _Shown | None]]:
    """Topic, this model's text and the reference's, if it wrote one."""
    shown = judgement.model.scores.samples[: judgement.settings.samples]
    others: Sequence[Sample | None] = judgement.reference.scores.samples
    if judgement.is_reference or not others:
        others = [None] * len(shown)
    return [
        (ours.topic, _Shown.of(ours), _Shown.of(theirs) if theirs else None)
        for ours, theirs in zip(shown, others, strict=False)
    ]


def stretches(text: str, runs: Sequence[Run]) -> list[tuple[str, Run | None]]:
    """The text in parts, each with the run it was copied with, or None. Where two runs overlap, the first has the overlap."""
    parts: list[tuple[str, Run | None]] = []
    done = 0
    for run in sorted(runs, key=lambda run: run.start):
        start = max(done, run.start)
        if run.stop <= start:
            continue
        parts += [(text[done:start], None), (text[start : run.stop], run)]
        done = run.stop
    return [(part, run) for part, run in [*parts, (text[done:], None)] if part]


def _lines(text: str) -> Markup:
    return Markup("<br>").join(text.split("\n"))


def _link(url: str, text: str, title: str = "") -> Markup:
    """A link if the address is a web address, else the text alone."""
    if not url.lower().startswith(("http://", "https://")):
        return Markup('<span title="{}">{}</span>').format(url, text)
    said = f"{title} ({url})" if title else url
    return Markup('<a href="{}" title="{}" rel="noopener noreferrer nofollow">{}</a>').format(url, said, text)


def _bad(text: str) -> Markup:
    return Markup('<b class="bad">{}</b>').format(text)


def _canaries(memory: Memory) -> Table | None:
    rows = [
        [f"{canary.shown} …", _bad("completed") if canary.memorised else "not completed"] for canary in memory.canaries
    ]
    return Table(["first half of the canary", "by this model"], rows) if rows else None


def _probes(memory: Memory) -> Table | None:
    shown = sorted(memory.probes, key=lambda probe: -probe.known)[:_PROBES]
    head = ["article", "prompt", "continuation in the training text", "tokens known of 30"]
    return Table(head, [_probe(probe) for probe in shown]) if shown else None


def _probes_note(memory: Memory) -> str:
    kinds = [("that occur in several articles", True), ("drawn at random", False)]
    counts = [(*memory.memorised(repeated), said) for said, repeated in kinds]
    said = ", ".join(f"{known} of {count} {kind}" for known, count, kind in counts if count)
    return (
        "The model gets the start of a training passage. The passage is memorised if the model continues it word for word "
        f"for 30 tokens. Memorised: {said}. The best known:"
    )


def _probe(probe: Probe) -> list[str]:
    known = _bad(str(probe.known)) if probe.memorised else str(probe.known)
    return [_link(probe.url, probe.title or probe.url), _lines(probe.prompt), _lines(probe.continuation), known]
