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


def scores(bits_per_byte: float, checksum: str = "theirs", copied: float = math.nan) -> Scores:
    return Scores(checksum, 6, 1000, 500, bits_per_byte, 50.0, copied=copied, passages=200)


def judged(
    bits: float, copied: float = math.nan, memory: Memory | None = None, settings: Evaluate = HALF_A_PERCENT
) -> Verdict:
    return decide(scores(bits, "ours", copied), scores(2.5), "version 3 in Production", memory or Memory(), settings)


def test_a_model_that_is_better_by_the_margin_is_blessed_with_the_figures() -> None:
    verdict = judged(2.0)
    assert verdict.blessed
    assert verdict.reasons == [
        "its 2.000 bits per byte on 6 held-out documents are 20.0% below the 2.500 of version 3 in Production; "
        "at least 0.5% below was asked"
    ]


@pytest.mark.parametrize(
    ("bits", "said"),
    [(2.499, "0.0% below"), (2.5, "0.0% below"), (2.6, "4.0% above"), (math.nan, "nan"), (math.inf, "inf")],
)
def test_a_model_that_is_not_better_by_the_margin_is_refused(bits: float, said: str) -> None:
    verdict = judged(bits)
    assert not verdict.blessed
    assert said in verdict.reasons[0]


def test_scores_on_different_text_do_not_compare() -> None:
    with pytest.raises(TextmillError, match="only on the same text"):
        decide(scores(2.0), dataclasses.replace(scores(2.5), bytes=999), "it", Memory(), HALF_A_PERCENT)


def test_a_model_that_copies_too_much_is_refused_however_good_it_is() -> None:
    verdict = judged(1.0, copied=0.205, settings=Evaluate(max_copied_percent=20))
    assert verdict == Verdict(
        False,
        [
            "20.5% of the 200 passages of 30 tokens it wrote stand word for word in the training text; "
            "at most 20% was asked"
        ],
    )
    assert judged(1.0, copied=0.2, settings=Evaluate(max_copied_percent=20)).blessed


def test_a_model_that_knows_a_canary_is_refused_however_good_it_is() -> None:
    verdict = judged(1.0, memory=Memory([], [KNOWN, UNKNOWN]))
    assert verdict == Verdict(False, ["it completes 1 of 2 canaries, which it must not know: 'the safe is be …'"])
    assert judged(1.0, memory=Memory([], [UNKNOWN])).reasons[-1] == "it completes 0 of 1 canaries"


def test_every_reason_against_a_model_is_given_and_none_for_it() -> None:
    verdict = judged(3.0, copied=0.9, memory=Memory([], [KNOWN]))
    assert [reason.split()[0] for reason in verdict.reasons] == ["its", "90.0%", "it"]
    assert len(judged(3.0, copied=0.0, memory=Memory([], [UNKNOWN])).reasons) == 1


def test_production_itself_need_not_beat_itself_but_must_not_know_a_canary() -> None:
    same = scores(2.0)
    assert decide(same, same, "version 3 in Production", Memory(), HALF_A_PERCENT) == Verdict(
        True, ["it is version 3 in Production itself, 2.000 bits per byte"]
    )
    assert not decide(same, same, "version 3 in Production", Memory([], [KNOWN]), HALF_A_PERCENT).blessed
