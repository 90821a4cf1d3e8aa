"""What came of crawling one site."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from textmill.articles import UpsertCounts


@dataclass(slots=True)
class CrawlCounts:
    """Counts of one site's crawl; `failure` is the sentence that says why it came to nothing."""

    pages: int = 0  # that answered or failed to
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # pages by reason
    cut_short: str | None = None  # the limit beyond which more pages lie
    failure: str | None = None

    @property
    def articles(self) -> int:
        return self.new + self.changed + self.unchanged

    def add(self, counts: UpsertCounts) -> None:
        """Count a batch that the store has taken."""
        self.new += counts.new
        self.changed += counts.changed
        self.unchanged += counts.unchanged

    def refusals(self) -> str:
        """The refused pages in words: '15 pages refused (9 listing, 6 robots.txt)'; empty where there are none."""
        total = self.refused.total()
        if not total:
            return ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.refused.most_common() if count)
        return f"{total} {'page' if total == 1 else 'pages'} refused ({reasons})"

    def reasons(self) -> str:
        """Why pages that there are gave no articles: the refusals, and the limit that was met."""
        return "; ".join(filter(None, (self.refusals(), self.cut_short)))

    def summary(self) -> str:
        """One line for a person."""
        if self.failure and not self.articles:
            return self.failure
        articles = f"{self.articles} article{'' if self.articles == 1 else 's'}"
        parts = [f"{articles}: {self.new} new, {self.changed} changed, {self.unchanged} unchanged"]
        return "; ".join([*parts, *filter(None, (self.reasons(), self.failure))])

    def values(self) -> dict[str, Any]:
        """The counts as JSON can carry them."""
        return {
            "pages": self.pages,
            "articles": self.articles,
            "new": self.new,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "refused": dict(+self.refused),
            "cut_short": self.cut_short,
            "failure": self.failure,
        }
