"""Whether a crawl brought so much less than its site's earlier ones that somebody should look before it is learned from.

A redesign leaves pages without articles, a consent wall replaces them by one text, a paywall by their first lines: the
number of articles falls, or their length. Either keeps the site out of export until it is released.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

CRAWLS = 10  # of the past, that a new one is compared with
FALL = 1 / 3  # of the usual: less than that is a collapse
ARTICLES = 5  # at least, that are usual, or that a length is taken from: below, chance decides


def collapse(history: Sequence[Mapping[str, Any]], articles: int, lengths: Sequence[int]) -> str | None:
    """What has collapsed, in words; None where nothing has.

    Args:
        history: earlier crawls that came to their end, with `articles` and `words`, the median of their articles.
        articles: of this crawl, unchanged ones included.
        lengths: in words, of the articles that were fetched in full.
    """
    usual = median(each["articles"] for each in history) if history else 0
    if usual >= ARTICLES and articles < FALL * usual:
        return f"{articles} articles where {usual:.0f} are usual"
    measured = [each["words"] for each in history if each.get("words")]
    words = median(lengths) if len(lengths) >= ARTICLES else 0
    if measured and words and words < FALL * median(measured):
        return f"articles of {words:.0f} words where {median(measured):.0f} are usual"
    return None
