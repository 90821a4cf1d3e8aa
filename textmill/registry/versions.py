"""The state of a registered model: versions, stages, aliases and the promotion log."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from textmill.registry import promotion_log
from textmill.registry.promotion_log import Move

STAGES = ("None", "Staging", "Production", "Archived")
HELD_BY_ONE = ("Staging", "Production")
OPEN_TO_DOUBT = ("refused", "undecided")  # tags of versions that did not pass, with the reasons
ALIASED = (*HELD_BY_ONE, "Archived")  # stages whose lower-case name is an alias


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of the registered model."""

    name: str
    number: int
    stage: str
    run_id: str
    created: datetime
    tags: dict[str, str] = field(default_factory=dict)
    updated: datetime | None = None  # when its stage or its description last changed

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Version":
        """A version from MLflow's JSON."""
        created, updated = (int(entry.get(f"{name}_timestamp", 0)) for name in ("creation", "last_updated"))
        return cls(
            name=entry["name"],
            number=int(entry["version"]),
            stage=entry.get("current_stage", "None"),
            run_id=entry.get("run_id", ""),
            created=datetime.fromtimestamp(created / 1000, UTC),
            tags={tag["key"]: tag.get("value", "") for tag in entry.get("tags", [])},
            updated=datetime.fromtimestamp(updated / 1000, UTC) if updated else None,
        )

    @property
    def checksum(self) -> str:
        """The checksum of its bundle's manifest."""
        return self.tags.get("checksum", "")

    @property
    def refused(self) -> str | None:
        """Why Evaluate refused it, or None."""
        return self.tags.get("refused")

    @property
    def undecided(self) -> str | None:
        """Why Evaluate could not decide between it and its reference, or None."""
        return self.tags.get("undecided")

    @property
    def doubt(self) -> str:
        """Why it did not pass evaluation, such as 'refused: it copies'; empty if it passed."""
        return promotion_log.doubt(self.refused, self.undecided)


@dataclass(frozen=True)
class Standing:
    """A model's versions and aliases in MLflow at one moment."""

    versions: list[Version]  # the newest first
    aliases: dict[str, int]  # of stages only, by lower-case name

    @cached_property
    def log(self) -> list[Move]:
        """The promotion log, oldest entry first."""
        return promotion_log.read({version.number: version.tags for version in self.versions})

    @cached_property
    def last(self) -> dict[int, Move]:
        """The last entry of each version in the log."""
        return promotion_log.last_moves(self.log)

    def logged(self, number: int) -> str:
        """A version's last stage in the log."""
        return self.last[number].stage if number in self.last else "None"

    def version(self, number: int) -> Version | None:
        """The version with this number, or None."""
        return next((version for version in self.versions if version.number == number), None)

    def in_stage(self, stage: str) -> list[Version]:
        """The versions in a stage: first the one that was moved last, by MLflow's clock."""
        found = (version for version in self.versions if version.stage == stage)
        return sorted(found, key=lambda version: (version.updated or version.created, version.number), reverse=True)

    def holder(self, stage: str) -> Version | None:
        """The version that holds a stage, or None."""
        return next(iter(self.in_stage(stage)), None)

    def displaced(self, version: Version) -> Version | None:
        """The version that replaced this one, if the log does not say so yet; else None."""
        stage = self.logged(version.number)
        return self.holder(stage) if version.stage == "Archived" and stage in HELD_BY_ONE else None
