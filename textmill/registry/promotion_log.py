"""The promotion log: one entry per move, as a tag `move.<time>.<random>` of the version.

Entries are never changed. Each names the previous entry of its version (`after`). Two observers of one move may both log
it, with the same `after` and stage; readers keep the first. The random part has 6 hex digits. Deleting a version in
MLflow deletes its entries.
"""

import getpass
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

_KEY = "move."
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # MLflow takes no plus sign in a name
_OPTIONAL = ("refused", "undecided", "undoes", "observed", "after")  # fields that an entry may lack
_FIGURES = ("bits_per_byte", "reference")  # the tags of a version that its moves record


@dataclass(frozen=True, slots=True)
class Move:
    """One entry of the promotion log."""

    version: int
    time: str  # ISO 8601, UTC
    who: str
    former: str
    stage: str
    why: str
    figures: dict[str, str] = field(default_factory=dict)
    refused: str = ""  # why Evaluate had refused the version, if it had
    undecided: str = ""  # why Evaluate had left it undecided, if it had
    undoes: int = 0  # of a rollback: the version that it took out of Production
    observed: bool = False  # found to have happened, not done by the writer of this entry
    after: str = ""  # key of the version's entry before this one
    key: str = ""

    @property
    def doubt(self) -> str:
        """Why the version did not pass evaluation, with the outcome first; empty if it passed."""
        return doubt(self.refused, self.undecided)


def figures_of(tags: Mapping[str, str]) -> dict[str, str]:
    """The figures that a move of a version with these tags records."""
    return {name: tags[name] for name in _FIGURES if name in tags}


def doubt(refused: str | None, undecided: str | None) -> str:
    """Why a version did not pass evaluation, such as 'refused: it copies'; empty if it passed."""
    return f"refused: {refused}" if refused else f"undecided: {undecided}" if undecided else ""


def user() -> str:
    """The user name of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def following(move: Move, log: Iterable[Move]) -> Move:
    """The move, linked to its version's last entry in the log."""
    last = last_moves(log).get(move.version)
    return replace(move, after=last.key if last else "")


def dated(move: Move, log: Sequence[Move], when: datetime | None = None) -> Move:
    """The move with a time later than all entries, even if this machine's clock is behind."""
    moment = when or datetime.now(UTC)
    if log:
        moment = max(moment, datetime.strptime(log[-1].time, _TIME).replace(tzinfo=UTC) + timedelta(microseconds=1))
    time = moment.strftime(_TIME)
    return replace(move, time=time, key=f"{_KEY}{time}.{secrets.token_hex(3)}")


def written(move: Move) -> str:
    """The value of a move's tag."""
    entry = {"from": move.former, "to": move.stage, "who": move.who, "why": move.why, "figures": move.figures}
    optional = {name: getattr(move, name) for name in _OPTIONAL}
    return json.dumps(entry | {name: value for name, value in optional.items() if value}, ensure_ascii=False)


def read(tags_of: Mapping[int, Mapping[str, str]]) -> list[Move]:
    """The log from the versions' tags, oldest entry first, each move once."""
    found = sorted(
        (move for version, tags in tags_of.items() for move in _moves(version, tags)),
        key=lambda move: (move.time, move.key),
    )
    done = {(move.version, move.after, move.stage) for move in found if not move.observed}
    kept = []
    for move in found:
        event = (move.version, move.after, move.stage)
        if move.observed and event in done:
            continue
        done.add(event)
        kept.append(move)
    return kept


def _moves(version: int, tags: Mapping[str, str]) -> Iterator[Move]:
    for key, value in tags.items():
        if not key.startswith(_KEY):
            continue
        try:
            said = json.loads(value)
            former, stage, who, why = said["from"], said["to"], said["who"], said["why"]
            datetime.strptime(time := key[len(_KEY) :].partition("Z")[0] + "Z", _TIME)
        except (ValueError, KeyError, TypeError):  # a tag that somebody made by hand in MLflow's page
            continue
        optional = {name: said[name] for name in ("figures", *_OPTIONAL) if name in said}
        yield Move(version, time, who, former, stage, why, key=key, **optional)


def last_moves(log: Iterable[Move]) -> dict[int, Move]:
    """The last entry of each version that was moved."""
    return {move.version: move for move in log}


def productions(log: Iterable[Move]) -> list[int]:
    """The versions that were in Production, oldest first, without those removed by a rollback."""
    stack: list[int] = []
    for move in log:
        if move.stage != "Production":
            continue
        if move.undoes and move.version in stack:
            while stack[-1] != move.version:
                stack.pop()
        elif stack[-1:] != [move.version]:
            stack.append(move.version)
    return stack
