"""The figures that watching decides by, from the article store, MLflow, the ratings and the served model."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pymongo import DESCENDING

from textmill.articles.article import now
from textmill.articles.store import ArticleStore
from textmill.corpus.exported_articles import Exported
from textmill.monitoring.decisions import Figures
from textmill.monitoring.feedback_store import Approval, FeedbackStore
from textmill.registry.model_registry import ModelRegistry, Version
from textmill.settings.config import Config

_TIMES_MORE = 5  # articles that are read for drift, over those that are needed


@dataclass
class Drift:
    """The bits per byte of one version on new articles; measured again when there are a good many more of them."""

    version: int = 0
    articles: int = 0
    bits_per_byte: float | None = None


class Observer:
    """Looks at everything; it remembers the last drift that it measured, since that takes seconds."""

    def __init__(self, config: Config, store: ArticleStore, registry: ModelRegistry, ratings: FeedbackStore) -> None:
        self._config = config
        self._store = store
        self._registry = registry
        self._ratings = ratings
        self._drift = Drift()
        self._sources = config.corpus.sources or [source.name for source in config.sources]

    def look(self) -> Figures:
        """The figures as they are now."""
        versions = self._registry.versions()
        newest = versions[0] if versions else None
        production, staged = (self._registry.resolve(stage) for stage in ("Production", "Staging"))
        approval = self._ratings.approvals(self._config.name).get(production.number) if production else None
        drift = self._measured(production) if production else Drift()
        return Figures(
            time=now(),
            articles=self._store.articles.count_documents({"source": {"$in": self._sources}}),
            new_articles=self._changed_since(self._learned(newest)),
            newest=newest.number if newest else 0,
            trained=newest.created if newest else None,
            production=production.number if production else 0,
            staged=staged.number if staged and not staged.doubt else 0,
            staged_against=staged.tags.get("reference", "").rpartition(" ")[0] if staged else "",
            ratings=approval.up + approval.down if approval else 0,
            approval_percent=_percent(approval),
            drift_articles=drift.articles,
            bits_per_byte=drift.bits_per_byte,
            baseline=float(production.tags["bits_per_byte"])
            if production and "bits_per_byte" in production.tags
            else None,
        )

    def _learned(self, version: Version | None) -> datetime | None:
        """The time of the snapshot that a version learned from; of a version without one, when it was made."""
        if version is None:
            return None
        number = version.tags.get("snapshot", "")
        known = self._store.snapshots.find_one({"_id": int(number)}) if number.isdecimal() else None
        return known["time"] if known else version.created

    def _changed_since(self, time: datetime | None) -> int:
        query: dict[str, Any] = {"source": {"$in": self._sources}, "valid_to": None}
        if time is not None:
            query["valid_from"] = {"$gt": time}
        return self._store.versions.count_documents(query)

    def _measured(self, version: Version) -> Drift:
        settings, learned = self._config.watch, self._learned(version)
        query = {"source": {"$in": self._sources}, "first_fetched": {"$gt": learned}}
        most = settings.drift_articles * _TIMES_MORE
        keys = [
            each["_id"]
            for each in self._store.articles.find(query, {"_id": 1}, sort=[("first_fetched", DESCENDING)], limit=most)
        ]
        if not settings.drift_percent or len(keys) < settings.drift_articles:
            return Drift(version.number, len(keys))
        known = self._drift
        more = len(keys) - known.articles
        if (
            known.version != version.number
            or known.bits_per_byte is None
            or more >= max(1, settings.drift_articles // 4)
        ):
            self._drift = Drift(version.number, len(keys), self._bits_per_byte(version, keys))
        return self._drift

    def _bits_per_byte(self, version: Version, keys: list[str]) -> float:
        from textmill.evaluation import scores  # imports ONNX Runtime, which only this needs

        directory = self._registry.download(version, self._config.data_dir / "models")
        return scores.judge(Path(directory), self._articles(keys)).bits_per_byte

    def _articles(self, keys: list[str]) -> Iterator[Exported]:
        for each in self._store.versions.find({"key": {"$in": keys}, "valid_to": None}):
            yield Exported(each["url"], each["source"], each["title"], each["text"])


def _percent(approval: Approval | None) -> float | None:
    return 100 * approval.share if approval else None
