"""Select a snapshot's articles for training by language, date, length and licence."""

import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import TYPE_CHECKING, Any

from textmill.ground import words

if TYPE_CHECKING:
    from textmill.articles.article import Article
    from textmill.settings.corpus import Corpus

NO_TRAINING = frozenset(("noai",))  # robots words by which a page refuses to be learned from


@dataclass(frozen=True, slots=True)
class Selection:
    """The settings under `corpus` that choose articles and their splits; see textmill.settings."""

    eval_percent: float = 10.0
    validation_percent: float = 10.0
    sources: tuple[str, ...] = ()  # empty: all that the snapshot holds
    languages: tuple[str, ...] = ()
    published_from: date | None = None
    published_before: date | None = None
    min_words: int = 1
    max_words: int | None = None
    admit: str = "unreserved"  # all, unreserved or licensed
    licences: tuple[str, ...] = ()  # regular expressions
    near_duplicates: float = 0.8  # Jaccard similarity; 0: only equal texts count as duplicates
    eval_articles: int = 20  # at least, as far as they are no more than a fifth

    @classmethod
    def of(cls, settings: "Corpus") -> "Selection":
        """Create it from the configuration and the snapshot's sources."""
        return cls._of({each.name: getattr(settings, each.name) for each in fields(cls) if each.name != "sources"})

    def refusal(self, article: "Article") -> str | None:
        """Why the article is left out, in two or three words; None if it is selected."""
        if self.sources and article.source not in self.sources:
            return "other source"
        if self.languages and article.language not in self.languages:
            return "other language"
        if not self._in_time(article):
            return "other date"
        number = words.count(article.text) if self.min_words > 1 or self.max_words else self.min_words
        if number < self.min_words or not article.text.strip():
            return "too short"
        if self.max_words and number > self.max_words:
            return "too long"
        return self._not_permitted(article)

    def _in_time(self, article: "Article") -> bool:
        """An article without a date is outside every date range."""
        if self.published_from is None and self.published_before is None:
            return True
        if article.published is None:
            return False
        day = article.published.date()
        return (self.published_from or date.min) <= day and (
            self.published_before is None or day < self.published_before
        )

    def _not_permitted(self, article: "Article") -> str | None:
        if self.permits(article.robots, article.licence, article.reserved):
            return None
        return "licence not admitted" if self.admit == "licensed" else "rights reserved"

    def permits(self, robots: str, licence: str | None, reserved: str | None) -> bool:
        """Whether `admit` takes an article with these fields."""
        if self.admit == "all":
            return True
        if self.admit == "licensed":
            named = licence or ""
            return bool(named) and any(re.search(each, named, re.IGNORECASE) for each in self.licences or ("",))
        said = {word.strip() for word in robots.split(",")}
        return not reserved and not said & NO_TRAINING

    def to_json(self) -> str:
        """The selection as text for a component's parameter. Equal selections give equal text."""
        return json.dumps(asdict(self), default=str, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Selection":
        values: dict[str, Any] = json.loads(text)
        for name in ("published_from", "published_before"):
            if values.get(name):
                values[name] = date.fromisoformat(values[name])
        return cls._of(values)

    @classmethod
    def _of(cls, values: dict[str, Any]) -> "Selection":
        plain: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
        return cls(**plain)
