"""Compute the corrections that make stage, alias, tag and log of every version agree."""

from dataclasses import dataclass
from typing import Literal

from textmill.registry.versions import ALIASED, HELD_BY_ONE, Standing


@dataclass(frozen=True, slots=True)
class Correction:
    """One change to make in MLflow."""

    what: Literal["stage", "log", "alias", "tag"]
    number: int  # the version; of an alias 0: it names none any more
    value: str  # the stage, or the alias
    why: str = ""  # of an entry in the log
    who: str = ""


def corrections(
    standing: Standing, stages: set[str], left: set[str], commanded: str = "", moved: int = 0
) -> list[Correction]:
    """The first kind of correction still needed (stage, then log and tags, then aliases); later kinds assume earlier ones are done.

    Args:
        left: aliases to leave alone, as someone has just moved them on MLflow's page.
        commanded: the stage to which the caller has just moved a version.
        moved: that version.
    """
    return (
        _too_many(standing, stages)
        or _emptied(standing, commanded, moved)
        or _unlogged(standing, stages) + _tags(standing, stages)
        or _aliases(standing, stages, left)
    )


def aliases_moved(standing: Standing) -> dict[str, int]:
    """Aliases moved on MLflow's page: their version is not in their stage, and the log does not put it there."""
    moved = {}
    for stage in ALIASED:
        version = standing.version(standing.aliases.get(stage.lower(), 0))
        if version and stage not in (version.stage, standing.logged(version.number)):
            moved[stage.lower()] = version.number
    return moved


def _too_many(standing: Standing, stages: set[str]) -> list[Correction]:
    return [
        Correction("stage", loser.number, "Archived")
        for stage in sorted(stages & {*HELD_BY_ONE})
        for loser in standing.in_stage(stage)[1:]
    ]


def _emptied(standing: Standing, commanded: str, moved: int) -> list[Correction]:
    """Where two moves at once have archived each other's version, the one that is logged last is put back.

    Not where the version that was moved has gone on to another stage. A person who archives it on MLflow's page before the
    move is settled cannot be told from another move; it is put back once.
    """
    version = standing.version(moved)
    if commanded not in HELD_BY_ONE or standing.holder(commanded) or (version and version.stage != "Archived"):
        return []
    lost = [v for v in standing.versions if v.stage == "Archived" and standing.logged(v.number) == commanded]
    return [
        Correction("stage", version.number, commanded)
        for version in sorted(lost, key=lambda version: standing.last[version.number].time)[-1:]
    ]


def _unlogged(standing: Standing, stages: set[str]) -> list[Correction]:
    found = []
    for version in standing.versions:
        stage, taker = standing.logged(version.number), standing.displaced(version)
        # a taker that is not logged yet is on its way, and whoever moves it logs this too
        if taker and stage in stages and standing.logged(taker.number) == stage:
            who = standing.last[taker.number].who
            found.append(Correction("log", version.number, "Archived", f"version {taker.number} came to {stage}", who))
    return found


def _aliases(standing: Standing, stages: set[str], left: set[str]) -> list[Correction]:
    found = []
    for stage in sorted(stages & {*ALIASED}):
        alias, holder = stage.lower(), standing.holder(stage)
        number = holder.number if holder else 0
        if standing.aliases.get(alias, 0) != number and alias not in left:
            found.append(Correction("alias", number, alias))
    return found


def _tags(standing: Standing, stages: set[str]) -> list[Correction]:
    return [
        Correction("tag", version.number, version.stage)
        for version in standing.versions
        if stages & {version.stage, version.tags.get("stage", "None")}
        and version.tags.get("stage", "None") != version.stage
    ]
