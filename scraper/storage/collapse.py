"""Detect a crawl with far less text than its site's earlier crawls; its source is quarantined.

A redesign leaves pages without articles; a consent wall replaces them with one text; a paywall cuts them to their first
lines. The number or the length of articles falls. Either excludes the site from export until it is released.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

CRAWLS = 10  # of the past, that a new one is compared with
FALL = 1 / 3  # of the usual: less than that is a collapse
ARTICLES = 5  # at least, that are usual, or that a length is taken from: below, chance decides


def collapse(history: Sequence[Mapping[str, Any]], articles: int, lengths: Sequence[int]) -> str | None:
    """What has collapsed, in words; None if nothing has.

    Args:
        history: earlier completed crawls, with `articles` and `words`, the median length of their articles.
        articles: number of articles in this crawl, including unchanged ones.
        lengths: in words, of the articles fetched in full.
    """
    usual = median(each["articles"] for each in history) if history else 0
    if usual >= ARTICLES and articles < FALL * usual:
        return f"{articles} articles instead of the usual {usual:.0f}"
    measured = [each["words"] for each in history if each.get("words")]
    words = median(lengths) if len(lengths) >= ARTICLES else 0
    if measured and words and words < FALL * median(measured):
        return f"articles of {words:.0f} words instead of the usual {median(measured):.0f}"
    return None
