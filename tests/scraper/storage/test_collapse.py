import pytest

from scraper.storage.collapse import collapse

USUAL = [{"articles": 40, "words": 600}, {"articles": 44, "words": 580}, {"articles": 36, "words": 620}]


@pytest.mark.parametrize(
    ("history", "articles", "lengths", "expected"),
    [
        (USUAL, 41, [600] * 41, None),
        (USUAL, 14, [], None),  # few, but no collapse
        (USUAL, 13, [], "13 articles instead of the usual 40"),
        (USUAL, 40, [90] * 40, "articles of 90 words instead of the usual 600"),
        (USUAL, 40, [90] * 4, None),  # four short notes among what has not changed
        ([], 0, [], None),
        ([{"articles": 3, "words": 0}], 0, [], None),  # too few to tell
    ],
)
def test_collapse_is_told_from_a_slow_week(
    history: list[dict[str, int]], articles: int, lengths: list[int], expected: str | None
) -> None:
    assert collapse(history, articles, lengths) == expected
