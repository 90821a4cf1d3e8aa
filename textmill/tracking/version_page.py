"""The description on a version's page in MLflow, as Markdown: all that a reviewer needs."""

import re
from collections.abc import Mapping
from typing import Any

_SAMPLES = 2
_GAP = "&emsp;"  # MLflow sets a table's columns side by side without one
_MEANINGFUL = re.compile(r"[<>&*_`\[\]#!|\\~$:-]")  # to Markdown, HTML, or to what makes links of addresses
_FIGURES = (  # title, name among the metrics, format
    ("bits per byte", "bits_per_byte", "{:.3f}"),
    ("bits per byte of a compressor (PPMd)", "compressor_bits_per_byte", "{:.3f}"),
    ("perplexity per token", "perplexity", "{:.1f}"),
    ("passages of 30 tokens copied from the training text", "copied", "{:.1%}"),
    ("training passages it has memorised", "memorised", "{:.1%}"),
    ("distinct word pairs among all (distinct-2)", "distinct_2", "{:.2f}"),
    ("repeated four-word phrases", "repetition", "{:.1%}"),
)

_MARKS = {"blessed": "✓", "undecided": "?", "refused": "✗"}
_OF_NEITHER = ("compressor_bits_per_byte",)  # figures of the text, not of a model


def description(verdict: Mapping[str, Any], lineage: Mapping[str, Any], card: str, page: str, run: str) -> str:
    """The Markdown of a version's description; crawled and generated text is escaped.

    Args:
        verdict: what `evaluation.json` holds.
        card: the model card, whose title is left out.
        page: the address of the evaluation's page, or nothing.
        run: the address of the MLflow run.
    """
    parts = [
        f"**{_MARKS[verdict['outcome']]} {verdict['outcome'].capitalize()}**",
        "\n".join(f"- {_plain(said)}" for said in (*verdict["reasons"], *verdict["warnings"])),
        _figures(verdict),
        " · ".join(
            f"[{title}]({address})"
            for title, address in (("The whole evaluation, with plots", page), ("Training run", run))
            if address
        ),
        _samples(verdict["samples"]),
        _origin(lineage),
        "**Model card**",
        card.partition("\n")[2].strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _plain(text: str) -> str:
    """Text that Markdown and HTML take as it stands."""
    return _MEANINGFUL.sub(lambda match: f"&#{ord(match[0])};", text)


def _figures(verdict: Mapping[str, Any]) -> str:
    metrics = verdict["metrics"]
    rows = [
        f"| {title}{_GAP} | {_figure(metrics, name, form)}{_GAP} | {_figure(metrics, f'reference_{name}', form) if name not in _OF_NEITHER else ''} |"
        for title, name, form in _FIGURES
        if name in metrics
    ]
    head = f"| on held&#45;out articles{_GAP} | this model{_GAP} | {_plain(verdict['reference'])} |\n|---|---|---|\n"
    return head + "\n".join(rows)


def _figure(metrics: Mapping[str, float], name: str, form: str) -> str:
    return form.format(metrics[name]) if name in metrics else "not measured"


def _samples(samples: list[str]) -> str:
    quoted = ["\n".join(f"> {_plain(line)}" for line in text.splitlines()) for text in samples[:_SAMPLES]]
    return "**Samples**\n\n" + "\n\n---\n\n".join(quoted) if quoted else ""


def _origin(lineage: Mapping[str, Any]) -> str:
    corpus, base = lineage["corpus"], lineage.get("base", {"name": "scratch"})
    started = "" if base["name"] == "scratch" else f", starting from {_plain(str(base['name']))}"
    sources = "\n".join(f"| {_plain(name)}{_GAP} | {count} |" for name, count in corpus["sources"].items())
    return (
        f"**Trained on** snapshot {corpus['snapshot']} of the articles, taken {_plain(corpus['time'])}{started}; "
        f"digest `{corpus['digest'][:16]}`, code `{lineage['code']}`\n\n| source{_GAP} | articles |\n|---|---|\n{sources}"
    )
