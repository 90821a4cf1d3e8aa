"""The evaluation page shows what was found, stands alone, and runs nothing that was crawled."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from textmill.evaluation import page as evaluation_page
from textmill.evaluation.comparison import Estimate
from textmill.evaluation.form import Form, FormReport
from textmill.evaluation.gates import decide
from textmill.evaluation.memorisation import Canary, Memory, Probe
from textmill.evaluation.plots import Line, Row, curves, strips, ticks
from textmill.evaluation.result import Judged, Judgement
from textmill.evaluation.scores import ArticleScore, Sample, Scores, SourceScore
from textmill.evaluation.topics import Bin, Insight
from textmill.gpt2.verbatim.index import Run
from textmill.settings.evaluation import Evaluate

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TEXT = "The wheel turns.\n\nIt turned before the flood, as the old miller said to whoever asked him, and after it."


def scores(checksum: str, bits: float, copied: list[Run], hostile: str = "") -> Scores:
    sizes = [2000 + 20 * n for n in range(40)]
    each = [bits + math.sin(n) / 3 for n in range(40)]
    return Scores(
        checksum=checksum,
        sizes=sizes,
        bits=[value * size for value, size in zip(each, sizes, strict=True)],
        documents=40,
        bytes=90_000,
        tokens=24_000,
        bits_per_byte=bits,
        perplexity=2 ** (bits * 90 / 24),
        repetition=0.031,
        distinct_1=0.42,
        distinct_2=0.87,
        copied=0.04,
        passages=1440,
        samples=[Sample(f"The wheel{hostile}", TEXT + hostile, "length", copied)] * 5,
        sources={
            name: SourceScore(20, 45_000, bits + more)
            for name, more in (("mill", -0.1), (f"barn{hostile}", 0.1), ("river-gazette", 0.2))
        },
        articles=[ArticleScore(f"Article {n}{hostile}", "mill", 2000, bits + math.sin(n) / 3) for n in range(40)],
    )


def judgement(hostile: str = "", canary_known: bool = False) -> Judgement:
    run = Run(18, 74, f"http://mill.example/flood?a=1&b={hostile}", f"The flood{hostile}")
    script = Run(80, 90, "javascript:alert(3)", "no")
    memory = Memory(
        [
            Probe("http://mill.example/1", f"One{hostile}", "given" + hostile, "rest" + hostile, n % 2 == 0, 30 - n)
            for n in range(12)
        ],
        [Canary("the safe is be" + hostile, canary_known)],
    )
    ours, theirs = scores("ours", 2.1, [run, script], hostile), scores("theirs", 2.4, [])
    insight = Insight(Estimate(0.021, 0.012, 0.03, 40), [Bin(800, 0.31, Estimate(0.29, 0.26, 0.32, 40))])
    usual = Form(0.012, 82.0, 0.96, 0.0, 4)
    form = FormReport(usual, usual, Form(0.02, 41.0, 0.85, 0.0, 12))
    model = Judged("this model", ours, memory, form, insight)
    reference = Judged("version 3 in Production", replace(theirs, copied=math.nan), Memory())
    return Judgement(
        verdict=decide(ours, theirs, reference.name, memory, Evaluate()),
        model=model,
        reference=reference,
        vocabulary=2048,
        lineage={
            "name": "handbook",
            "corpus": {
                "snapshot": 7,
                "time": "2026-11-20T10:00:00+00:00",
                "digest": "ab" * 32,
                "articles": {"train": 320, "validation": 41, "eval": 40},
                "bytes": {"train": 720_000, "validation": 90_000, "eval": 90_000},
                "sources": {"mill": 200, f"barn{hostile}": 201},
            },
            "settings": {"model": {"layers": 3}, "train": {"steps": 650, "seed": 1}},
            "textmill": "0.1.0",
            "code": "0123456789abcdef",
        },
        settings=Evaluate(),
        history=[
            {"step": step, "loss": 3 + 4 * math.exp(-step / 150)}
            | ({"held_out_loss": 3.1 + 4 * math.exp(-step / 150) + step / 5000} if step % 50 == 0 else {})
            for step in range(0, 651, 10)
        ],
    )


class Page(HTMLParser):
    """What a browser would see: tags, attributes, and text outside of the style sheet."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text += data


def test_the_verdict_comes_first_and_then_the_figures_of_both_models() -> None:
    text = re.sub(r"\s+", " ", Page(evaluation_page.render(judgement())).text)
    place = 0
    for said in (
            "handbook", "✓ Blessed", "2.100 bits per byte on 40 held-out articles, 12.5% better than", "Figures",
            "version 3 in Production", "uniform model", "2.400", "Plots", "Samples", "Memory", "Lineage", "Settings"
        ):  # fmt: skip
        place = text.index(said, place)
    assert "4.0% of 1,440not measured" in text  # Production's bundle had no index
    assert "1 of 6 that occur in several articles, 0 of 6 drawn at random" in text
    assert "needs 0.021 bits per byte fewer after its own title than after another's (0.012 to 0.030)" in text
    assert "31.0%29.0%26.0% to 32.0%800" in text
    assert "at most 2.0%" in text
    assert "train 320, validation 41, eval 40" in text


def test_a_refusal_says_why() -> None:
    refused = Page(evaluation_page.render(judgement(canary_known=True))).text
    assert "✗ Refused" in refused
    assert "It completes 1 of 1 canaries" in refused


def test_nothing_that_was_crawled_becomes_markup() -> None:
    page = Page(evaluation_page.render(judgement(ATTACK)))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "iframe", "object", "link", "base", "form"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert ATTACK in page.text  # it is shown as it is


def test_only_web_addresses_are_links_and_nothing_is_fetched() -> None:
    page = Page(evaluation_page.render(judgement(ATTACK)))
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert links
    assert all(link.startswith("http://mill.example/") for link in links)
    assert not [attributes for _, attributes in page.tags if attributes.keys() & {"src", "srcset", "background"}]
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert "url(" not in evaluation_page.render(judgement())


def test_copied_stretches_are_marked_with_their_source() -> None:
    runs = [
        Run(4, 9, "http://a.example/", "A"),
        Run(7, 12, "http://b.example/", "B"),
        Run(8, 9, "http://c.example/", ""),
    ]
    one = judgement()
    written = replace(one.model.scores, samples=[Sample("The wheel", "The wheel < turns", "end", runs)])
    html = evaluation_page.render(replace(one, model=replace(one.model, scores=written)))
    shown = re.sub(r"<a [^>]*href=\"(http://.)[^>]*>", r"[\1]", html).replace("</a>", "")
    assert '<p dir="auto">The <mark>[http://a]wheel</mark><mark>[http://b] &lt; </mark>turns</p>' in shown


def test_a_model_that_is_production_itself_stands_alone() -> None:
    one = judgement()
    alone = replace(one, reference=replace(one.model, name="version 3 in Production"))
    page, both = (Page(evaluation_page.render(each)) for each in (alone, one))
    assert sum(tag == "article" for tag, _ in page.tags) * 2 == sum(tag == "article" for tag, _ in both.tags)
    assert "2.400" not in page.text.partition("Figures")[2]


def test_the_page_holds_with_next_to_nothing_measured() -> None:
    bare = Scores("ours", 1, 10, 5, math.inf, math.nan)
    model = Judged("this model", bare, Memory())
    empty = replace(judgement(), model=model, reference=replace(model, name="x"), lineage={}, history=[])
    text = Page(evaluation_page.render(empty)).text
    assert "not measured" in text
    assert "<svg" not in evaluation_page.render(empty)


@pytest.mark.parametrize(("low", "high"), [(0, 650), (1.98, 7.03), (0.001, 0.0023), (-1, 1), (3, 3.5), (0, 1_000_000)])
def test_ticks_are_round_and_cover_the_range(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high
    assert 3 <= len(found) <= 9
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert len(steps) == 1


def test_plots_keep_to_their_frame() -> None:
    line = curves([Line("l", "a", [(0, 5.0), (10, 5.0), (650, 5.0)])], "step", "loss", (10, 5.0))
    strip = strips([Row("x" * 80, "a", [(2.0, ATTACK)], 2.0, "a")], "bits")
    for svg in (line, strip):
        assert "nan" not in svg and "<script" not in svg
        width, height = map(float, re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0])
        for x, y in re.findall(r'cx="(\S+)" cy="(\S+)"', svg):
            assert 0 <= float(x) <= width and 0 <= float(y) <= height
    assert curves([Line("l", "a", [(0, 1.0)])], "step", "loss") == ""
