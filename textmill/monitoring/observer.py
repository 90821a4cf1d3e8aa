"""The figures that watching decides by, from the article store, MLflow, the ratings and the served model."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from textmill.articles.article import now
from textmill.articles.snapshot import Snapshot
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
        self._sources = config.learned_sources

    def look(self) -> Figures:
        """The figures as they are now."""
        versions = self._registry.versions()
        newest = versions[0] if versions else None
        production, staged = (self._registry.resolve(stage) for stage in ("Production", "Staging"))
        approval = self._ratings.approvals(self._config.name).get(production.number) if production else None
        drift = self._measured(production) if production else Drift()
        return Figures(
            time=now(),
            articles=self._store.count(self._sources),
            new_articles=self._new_to(newest),
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
        known = self._snapshot(version)
        return known.time if known else version.created

    def _snapshot(self, version: Version) -> Snapshot | None:
        number = version.tags.get("snapshot", "")
        return self._store.find_snapshot(int(number)) if number.isdecimal() else None

    def _new_to(self, version: Version | None) -> int:
        """How many articles are new or changed since what a version learned from."""
        learned = self._learned(version)
        if version is None or learned is None or learned <= now():
            return self._store.changed_since(self._sources, learned)
        # a clock was ahead when that snapshot was taken: numbers tell, where times do not
        known = self._snapshot(version)
        return max(0, self._store.changed_since(self._sources, None) - (known.articles if known else 0))

    def _measured(self, version: Version) -> Drift:
        settings, learned = self._config.watch, self._learned(version)
        keys = self._store.newest(self._sources, learned, settings.drift_articles * _TIMES_MORE)
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
        for each in self._store.current(keys):
            yield Exported(each["url"], each["source"], each["title"], each["text"])


def _percent(approval: Approval | None) -> float | None:
    return 100 * approval.share if approval else None
