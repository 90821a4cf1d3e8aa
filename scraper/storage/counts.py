"""The counts of one site's crawl."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from textmill.articles.article import now
from textmill.articles.writes import UpsertCounts


@dataclass(slots=True)
class CrawlCounts:
    """Counts of one site's crawl; `failure` is the reason of a failed crawl."""

    started: datetime = field(default_factory=now)
    pages: int = 0  # that answered or failed to
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    not_modified: int = 0  # of the unchanged: those that cost an answer without a body
    words: list[int] = field(default_factory=list)  # of each article that was fetched in full
    refused: Counter[str] = field(default_factory=Counter)  # pages by reason
    cut_short: str | None = None  # the limit beyond which more pages lie
    failure: str | None = None
    site_failed: bool = False  # it did not answer, or not as a site does: no measure of what it holds
    collapse: str | None = None  # what has fallen so far below the usual that the source is quarantined

    @property
    def articles(self) -> int:
        return self.new + self.changed + self.unchanged

    def fail(self, sentence: str) -> None:
        """The site cannot be crawled, for a reason on the site's side."""
        self.failure, self.site_failed = sentence, True

    def add(self, counts: UpsertCounts) -> None:
        """Count a batch written to the store."""
        self.new += counts.new
        self.changed += counts.changed
        self.unchanged += counts.unchanged
        self.refused["forgotten"] += counts.forgotten

    def refusals(self) -> str:
        """The refused pages in words: '15 pages refused (9 listing, 6 robots.txt)'; empty if there are none."""
        total = self.refused.total()
        if not total:
            return ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.refused.most_common() if count)
        return f"{total} {'page' if total == 1 else 'pages'} refused ({reasons})"

    def reasons(self) -> str:
        """Why pages gave no articles: the refusals and the limit that was reached."""
        return "; ".join(filter(None, (self.refusals(), self.cut_short)))

    def summary(self) -> str:
        """A one-line summary."""
        if self.failure and not self.articles:
            return self.failure
        articles = f"{self.articles} article{'' if self.articles == 1 else 's'}"
        parts = [f"{articles}: {self.new} new, {self.changed} changed, {self.unchanged} unchanged"]
        quarantined = f"quarantined: {self.collapse}" if self.collapse else None
        return "; ".join([*parts, *filter(None, (self.reasons(), quarantined, self.failure))])

    def values(self) -> dict[str, Any]:
        """The counts in JSON's types."""
        return {
            "pages": self.pages,
            "articles": self.articles,
            "new": self.new,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "not_modified": self.not_modified,
            "words": int(median(self.words)) if self.words else 0,
            "refused": dict(+self.refused),
            "cut_short": self.cut_short,
            "failure": self.failure,
            "collapse": self.collapse,
        }
