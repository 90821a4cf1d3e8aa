"""Mirror moves made on MLflow's page: its old page moves only stages, its new page only aliases.

The promotion log has the last known stage of every version. If a stage differs from the log, it was moved on the page:
alias, tag and log follow. If an alias differs from the log, it was moved on the page: the stage follows. If both
differ, the stage wins.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from textmill.ground.errors import TextmillError
from textmill.registry.corrections import aliases_moved
from textmill.registry.model_registry import ModelRegistry, moved
from textmill.registry.promotion_log import Move, following
from textmill.registry.versions import HELD_BY_ONE, Standing

WHO = "MLflow page"  # MLflow keeps no record of who moved a stage or an alias
WHY = "moved in MLflow"
_GRACE_S = 1.0  # a move that another process is in the middle of is over by then


@dataclass(frozen=True, slots=True)
class _Found:
    """A move that the log does not know."""

    version: int
    stage: str
    by_alias: bool = False  # its stage has yet to follow


class Reconciler:
    """Keeps stage, alias, tag and log of one registered model in agreement."""

    def __init__(self, registry: ModelRegistry, observe: Callable[[Move], None] = lambda move: None) -> None:
        self._registry = ModelRegistry(registry.tracking_uri, registry.name)  # a connection of its own: it is a thread
        self._observe = observe
        self.trouble = ""  # why the last look failed, or nothing

    def run(self, every_s: float, stop: threading.Event) -> None:
        """Check every `every_s` seconds until `stop` is set, also while MLflow does not answer."""
        while not stop.is_set():
            try:
                self.once(stop)
                self.trouble = ""
            except TextmillError as error:
                self.trouble = str(error)
            stop.wait(every_s)

    def once(self, stop: threading.Event | None = None) -> list[Move]:
        """Check once; mirror and return the moves made on MLflow's page.

        A finding is checked again after 1 second, so that a move by Textmill in progress is not mistaken for one on
        the page.
        """
        seen = _page_moves(self._registry.standing())
        if not seen:
            self._registry.settle()
            return []
        (stop or threading.Event()).wait(_GRACE_S)
        found = _page_moves(self._registry.standing())
        moves = [move for each in found if each in seen and (move := self._mirror(each))]
        if all(each in seen for each in found):  # otherwise something moves right now: the next look takes it up
            self._registry.settle()
        for move in moves:
            self._observe(move)
        return moves

    def _mirror(self, found: _Found) -> Move | None:
        standing = self._registry.standing()
        version = standing.version(found.version)
        if version is None or found not in _page_moves(standing):  # another reconciler was quicker
            return None
        move = moved(version, standing.logged(version.number), found.stage, WHY, WHO, observed=True)
        # after what was seen: two observers of one move name the same entry, though one of them writes first
        move = following(move, standing.log)
        return self._registry.move(version, move, None if found.by_alias else version.updated)


def _page_moves(standing: Standing) -> list[_Found]:
    """What was moved since the log's last entries, stages before aliases."""
    by_stage = [
        _Found(version.number, version.stage)
        for version in standing.versions
        if version.stage != standing.logged(version.number) and not standing.displaced(version)
    ]
    settled = {found.version for found in by_stage}
    busy = {found.stage for found in by_stage} | {standing.logged(number) for number in settled}
    by_alias: dict[int, str] = {}  # of a version that got several, the highest counts
    for stage in ("Archived", *HELD_BY_ONE):
        taker = aliases_moved(standing).get(stage.lower())
        holder = standing.holder(stage)
        if stage in busy and stage in HELD_BY_ONE:
            continue
        if taker and taker not in settled:
            by_alias[taker] = stage
        elif stage in HELD_BY_ONE and stage.lower() not in standing.aliases and holder and holder.number not in settled:
            by_alias.setdefault(holder.number, "Archived")  # its alias was taken away, and given to no other
    return by_stage + [_Found(number, stage, by_alias=True) for number, stage in by_alias.items()]
