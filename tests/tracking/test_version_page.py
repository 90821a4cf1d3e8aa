"""A version's page says what a reviewer needs, and shows crawled and generated text as it stands."""

from textmill.tracking import version_page

LINEAGE = {
    "code": "0123456789abcdef",
    "base": {"name": "124M"},
    "corpus": {"snapshot": 7, "digest": "ab" * 32, "time": "2026-01-01T00:00:00", "sources": {"mill_pond": 12}},
}
VERDICT = {
    "outcome": "blessed",
    "warnings": [],
    "reasons": ["its 1.900 bits per byte are below the 2.000 of version 3 in Production"],
    "reference": "version 3 in Production",
    "metrics": {"bits_per_byte": 1.9, "reference_bits_per_byte": 2.0, "perplexity": 9.0, "copied": 0.015},
    "samples": ["# A title\n\n<script>alert(1)</script> ![](http://spy.example/x.png) `code`", "Second.", "Third."],
}


def _page(**changed: object) -> str:
    verdict = {**VERDICT, **changed}
    return version_page.description(verdict, LINEAGE, "# mill\n\nA card.\n", "#/page", "#/run")


def test_a_page_has_the_verdict_the_comparison_the_links_and_the_lineage() -> None:
    page = _page().replace("&emsp;", "")
    assert page.startswith("**✓ Blessed**\n\n- its 1.900 bits per byte")
    assert "| bits per byte | 1.900 | 2.000 |" in page
    assert "| passages of 30 tokens copied from the training text | 1.5% | not measured |" in page
    assert "(#/page)" in page
    assert "(#/run)" in page
    assert "snapshot 7 of the articles" in page
    assert "starting from 124M" in page
    assert "mill&#95;pond | 12 |" in page
    assert page.endswith("A card.\n")


def test_two_samples_are_shown_and_their_markup_is_inert() -> None:
    page = _page()
    samples = page[page.index("**Samples**") : page.index("**Trained on**")]
    assert "Second." in samples
    assert "Third." not in samples
    assert not {"<", "!", "`", "["} & set(samples)
    assert "://" not in samples  # MLflow would make it a link


def test_a_refused_version_says_so_first() -> None:
    assert _page(outcome="refused", reasons=["it copies"]).startswith("**✗ Refused**\n\n- it copies\n")


def test_an_undecided_version_says_so_and_warnings_follow_the_reasons() -> None:
    page = _page(outcome="undecided", reasons=["not distinguishable"], warnings=["a weak verdict"])
    assert page.startswith("**? Undecided**\n\n- not distinguishable\n- a weak verdict\n")
