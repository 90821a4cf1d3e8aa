"""An interval says how sure a figure is; simulations say how sure the interval is."""

import math

import numpy as np
import pytest

from textmill.evaluation.comparison import Estimate, articles_needed, ratio


def test_the_mean_is_weighted_and_equal_articles_give_students_interval() -> None:
    assert ratio([10, 60], [10, 30]).mean == 1.75
    values = [1.0, 2.0, 3.0, 4.0]
    found = ratio(values, [1, 1, 1, 1])
    error = np.std(values, ddof=1) / 2
    assert found.high - found.mean == pytest.approx(3.18245 * error, rel=1e-5)  # t with three degrees of freedom
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_the_interval_holds_what_is_true_about_as_often_as_it_says() -> None:
    draw, trials, truth = np.random.default_rng(1), 1000, 0.01
    for count in (8, 20):
        held = 0
        for _ in range(trials):
            sizes = draw.lognormal(8.3, 0.5, count)  # bytes, about as articles have
            skewed = (draw.gamma(2, 1, count) - 2) / 50
            found = ratio((truth + skewed) * sizes, sizes)
            held += found.low <= truth <= found.high
        assert 0.89 <= held / trials <= 0.97, count


def test_one_article_or_one_that_outweighs_all_others_gives_no_interval() -> None:
    for found in (ratio([3.0], [2.0]), ratio([3.0, 0.0], [2.0, 0.0])):
        assert (found.mean, found.low, found.high, found.articles) == (1.5, -math.inf, math.inf, 1)
    assert math.isnan(ratio([], []).mean)


def test_the_articles_needed_would_settle_it() -> None:
    few = ratio([0.5, -0.3, 0.9, -0.2, 0.4, -0.1, 0.6, 0.0], [1.0] * 8)
    assert few.low < 0 < few.mean
    needed = articles_needed(few, few.mean)
    assert needed is not None and 10 <= needed <= 40
    many = ratio([0.5, -0.3, 0.9, -0.2, 0.4, -0.1, 0.6, 0.0] * math.ceil(needed / 8), [1.0] * 8 * math.ceil(needed / 8))
    assert many.low > 0


def test_no_number_of_articles_tells_a_difference_of_nothing() -> None:
    assert articles_needed(ratio([1.0, -1.0], [1, 1]), 0.0) is None
    assert articles_needed(Estimate(1.0, -math.inf, math.inf, 1), 1.0) is None
