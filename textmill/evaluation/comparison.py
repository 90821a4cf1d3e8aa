"""How sure is a figure that was measured on a few articles?

A figure per byte over articles is a ratio of two sums, so its standard error is the jackknife's: each article left out
in turn. The 95% interval is Student's t on as many degrees of freedom as the articles are worth, less one: articles of
unequal length are worth fewer than there are (Kish 1965: squared sum of the weights over the sum of their squares).

The bootstrap (BCa) was tried and left out. In simulations with articles of unequal length and skewed differences, what
is called 95% held in 84% of trials for BCa with 8 articles, and in 92% for this; in 90% and 93% with 20. For many
articles the two agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_MOST = 10_000_000  # articles; who would need more will not find them


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the 95% interval around it. With fewer than two articles the interval is without end."""

    mean: float
    low: float
    high: float
    articles: int

    def times(self, factor: float) -> "Estimate":
        """The same in another unit; the factor is positive."""
        return Estimate(self.mean * factor, self.low * factor, self.high * factor, self.articles)


def ratio(values: Sequence[float], weights: Sequence[float]) -> Estimate:
    """The sum of the articles' values over the sum of their weights, such as bits over bytes.

    Args:
        weights: none negative; articles whose weight is 0 do not count.
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
    """About how many articles like these would tell this difference from none, rounded up; None where none would."""
    half = estimate.high - estimate.mean
    if not (math.isfinite(half) and difference > 0 and estimate.articles > 1):
        return None
    spread = half / _quantile(estimate.articles - 1) * math.sqrt(estimate.articles)  # of one article
    count = 2
    while count < _MOST and spread / math.sqrt(count) * _quantile(count - 1) > difference:
        count += 1 + count // 50
    unit = 1 if count <= 20 else 5 if count < 100 else 10 ** (len(str(count)) - 2)
    return None if count >= _MOST else math.ceil(count / unit) * unit


def _quantile(freedom: float) -> float:
    """Student's t that 95% of draws stay below in size."""
    from scipy.special import stdtrit  # half a second to import

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
