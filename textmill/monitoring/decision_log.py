"""What watching decided, with its figures, and what it remembers: two collections beside the articles."""

from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from textmill.monitoring.decisions import Decision, Figures, State

_SILENT = timedelta(minutes=2)  # without a sign of life: whoever was acting has died


class WatchLog:
    """Decisions and memory of watching one model; whoever watches, from wherever, shares them."""

    def __init__(self, database: Database[dict[str, Any]], model: str) -> None:
        self.model = model
        self._decisions = database["decisions"]
        self._watch = database["watch"]

    def state(self) -> tuple[State, int]:
        """What was remembered at the last look, and how many there have been.

        Where whoever was to act on it has died, it is what was remembered before: the action is due again.
        """
        found = self._watch.find_one({"_id": self.model})
        if found is None or "state" not in found:
            return State(), 0
        unreached = found.get("unreached")
        state: dict[str, Any] = unreached if unreached and not self.acting() else found["state"]
        return State(**state | {"silent": tuple(state["silent"])}), found["looks"]

    def looked(self, figures: Figures, state: State, looks: int, unreached: State | None = None) -> bool:
        """Keep the latest look: its figures, and what to remember.

        Args:
            looks: how many there had been when it began; where there are more by now, somebody else looked meanwhile,
                nothing is kept, and the answer is no: of two at once, one decides.
            unreached: what to remember instead should whoever acts on the decision die before it is done.
        """
        document = {"looks": looks + 1, "time": figures.time, "figures": figures.record(), "state": asdict(state)}
        document["unreached"] = asdict(unreached) if unreached else None
        if not looks:
            with suppress(DuplicateKeyError):
                self._watch.insert_one({"_id": self.model, "looks": 0})
        change = {"$set": document, "$currentDate": {"beat": True}}
        return self._watch.update_one({"_id": self.model, "looks": looks}, change).matched_count == 1

    def remember(self, state: State) -> None:
        """Change what is remembered; nobody is acting any more."""
        self._watch.update_one({"_id": self.model}, {"$set": {"state": asdict(state), "unreached": None}})

    def acting(self) -> bool:
        """Whether somebody is doing what was decided: a sign of life has come within the last two minutes.

        The store's clock says when, so that those of several machines may differ.
        """
        found = self._watch.find_one_and_update(
            {"_id": self.model, "unreached": {"$ne": None}},
            {"$currentDate": {"asked": True}},
            return_document=ReturnDocument.AFTER,
        )
        return found is not None and timedelta(0) <= found["asked"] - found["beat"] < _SILENT

    def beat(self) -> None:
        """Give a sign of life."""
        self._watch.update_one({"_id": self.model}, {"$currentDate": {"beat": True}})

    def done(self) -> None:
        """What was decided has been done."""
        self._watch.update_one({"_id": self.model}, {"$set": {"unreached": None}})

    def last_look(self) -> tuple[datetime, dict[str, Any]] | None:
        """When somebody last looked, and what the figures were."""
        found = self._watch.find_one({"_id": self.model})
        return (found["time"], found["figures"]) if found and "figures" in found else None

    def append(self, time: datetime, decision: Decision) -> None:
        """Add a decision; none is ever changed."""
        self._decisions.insert_one({"model": self.model, "time": time, **asdict(decision)})

    def decisions(self, most: int) -> list[dict[str, Any]]:
        """The latest decisions, the oldest of them first."""
        found = self._decisions.find({"model": self.model}, {"_id": 0}, sort=[("time", -1), ("_id", -1)], limit=most)
        return list(found)[::-1]
