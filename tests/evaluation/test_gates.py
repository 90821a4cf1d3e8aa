"""A verdict says yes or no, and why, in figures."""

import dataclasses
import math

import pytest

from textmill.evaluation.gates import Verdict, decide
from textmill.evaluation.memorisation import Canary, Memory
from textmill.evaluation.scores import Scores
from textmill.ground.errors import TextmillError
from textmill.settings.evaluation import Evaluate

HALF_A_PERCENT = Evaluate(margin_percent=0.5)
KNOWN, UNKNOWN = Canary("the safe is be", True), Canary("the key is un", False)


SIZES = [100, 150, 150, 175, 200, 225]


def scores(
    bits_per_byte: float, checksum: str = "theirs", copied: float = math.nan, spread: float = 0.0, count: int = 6
) -> Scores:
    """Of so many articles, whose bits per byte differ by twice the spread from one to the next."""
    sizes = (SIZES * count)[:count]
    each = [bits_per_byte + (spread if number % 2 else -spread) for number in range(count)]
    bits = [value * size for value, size in zip(each, sizes, strict=True)]
    found = Scores(checksum, count, sum(sizes), 500, sum(bits) / sum(sizes), 50.0, copied=copied, passages=200)
    return dataclasses.replace(found, sizes=sizes, bits=bits)


def judged(
    bits: float,
    copied: float = math.nan,
    memory: Memory | None = None,
    settings: Evaluate = HALF_A_PERCENT,
    spread: float = 0.0,
    count: int = 6,
) -> Verdict:
    ours, theirs = scores(bits, "ours", copied, spread, count), scores(2.5, count=count)
    return decide(ours, theirs, "version 3 in Production", memory or Memory(), settings)


def test_a_model_that_is_better_by_the_margin_is_blessed_with_the_figures() -> None:
    verdict = judged(2.0)
    assert verdict.blessed
    assert verdict.reasons == [
        "2.000 bits per byte on 6 held-out articles, 20.0% better than the 2.500 of version 3 in Production "
        "(95% interval 20.0% to 20.0%; required: 0.5% better)"
    ]


@pytest.mark.parametrize(
    ("bits", "said"), [(2.6, "4.0% worse than the 2.500 of version 3"), (math.nan, "nan"), (math.inf, "inf")]
)
def test_a_model_that_is_surely_worse_is_refused(bits: float, said: str) -> None:
    verdict = judged(bits)
    assert verdict.outcome == "refused"
    assert said in verdict.reasons[0]


@pytest.mark.parametrize(("bits", "needed"), [(2.45, 40), (2.55, 16)])
def test_a_difference_that_the_articles_do_not_agree_on_is_undecided_and_says_how_many_would_settle_it(
    bits: float, needed: int
) -> None:
    verdict = judged(bits, spread=0.1, count=8)
    assert (verdict.outcome, verdict.blessed) == ("undecided", False)
    assert verdict.reasons[1] == f"not distinguishable from version 3 with 8 articles; about {needed} would settle it"
    assert judged(bits, spread=0.1, count=40).outcome == ("blessed" if bits < 2.5 else "refused")


def test_a_model_that_is_surely_better_but_not_by_the_margin_is_undecided() -> None:
    verdict = judged(2.495)
    assert verdict.outcome == "undecided"
    assert verdict.reasons[1] == "better than version 3, but by less than required"


def test_one_article_decides_nothing() -> None:
    verdict = judged(1.0, count=1)
    assert verdict.outcome == "undecided"
    assert verdict.reasons == [
        "1.000 bits per byte on 1 held-out article, 60.0% better than the 2.500 of version 3 in Production "
        "(required: 0.5% better)",
        "not distinguishable from version 3 with 1 article; more would be needed",
    ]


def test_a_verdict_on_few_articles_says_that_it_is_weak() -> None:
    assert judged(2.0, count=8).warnings == ["weak verdict: only 8 held-out articles; at least 20 are recommended"]
    assert judged(2.0, count=20).warnings == []


def test_a_model_that_a_compressor_beats_says_so_and_may_be_blessed_all_the_same() -> None:
    ours, theirs = scores(2.0, "ours", count=20), scores(2.5, count=20)
    better, worse = ([bits * factor for bits in ours.bits[:10]] for factor in (0.95, 1.05))
    found = decide(ours, theirs, "it", Memory(), HALF_A_PERCENT, better)
    assert (found.outcome, found.warnings) == (
        "blessed",
        ["a compressor predicts these articles better than this model: 1.900 bits per byte against 2.000"],
    )
    assert decide(ours, theirs, "it", Memory(), HALF_A_PERCENT, worse).warnings == []


def told(verdict: Verdict) -> tuple[str, list[str]]:
    return verdict.outcome, verdict.reasons


def test_what_speaks_against_a_model_weighs_more_than_doubt() -> None:
    verdict = judged(2.5, spread=0.1, memory=Memory([], [KNOWN]))
    assert verdict.outcome == "refused"
    assert len(verdict.reasons) == 1


def test_scores_on_different_text_do_not_compare() -> None:
    with pytest.raises(TextmillError, match="both need the same text"):
        decide(scores(2.0), dataclasses.replace(scores(2.5), sizes=[999]), "it", Memory(), HALF_A_PERCENT)


def test_a_model_that_copies_too_much_is_refused_however_good_it_is() -> None:
    verdict = judged(1.0, copied=0.205, settings=Evaluate(max_copied_percent=20))
    assert told(verdict) == (
        "refused",
        ["20.5% of the 200 30-token passages in its texts are copied from the training text (limit: 20%)"],
    )
    assert judged(1.0, copied=0.2, settings=Evaluate(max_copied_percent=20)).blessed


def test_a_model_that_knows_a_canary_is_refused_however_good_it_is() -> None:
    verdict = judged(1.0, memory=Memory([], [KNOWN, UNKNOWN]))
    assert told(verdict) == ("refused", ["it completes 1 of 2 canaries: 'the safe is be …'"])
    assert judged(1.0, memory=Memory([], [UNKNOWN])).reasons[-1] == "it completes 0 of 1 canaries"


def test_every_reason_against_a_model_is_given_and_none_for_it() -> None:
    verdict = judged(3.0, copied=0.9, memory=Memory([], [KNOWN]))
    assert [reason.split()[0] for reason in verdict.reasons] == ["3.000", "90.0%", "it"]
    assert len(judged(3.0, copied=0.0, memory=Memory([], [UNKNOWN])).reasons) == 1


def test_production_itself_need_not_beat_itself_but_must_not_know_a_canary() -> None:
    same = scores(2.0)
    assert told(decide(same, same, "version 3 in Production", Memory(), HALF_A_PERCENT)) == (
        "blessed",
        ["it is version 3 in Production itself, 2.000 bits per byte"],
    )
    assert not decide(same, same, "version 3 in Production", Memory([], [KNOWN]), HALF_A_PERCENT).blessed
