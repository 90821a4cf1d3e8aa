"""The decisions and the state of `textmill watch`, in two MongoDB collections."""

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
    """Decisions and state of watching one model, shared by all watching processes."""

    def __init__(self, database: Database[dict[str, Any]], model: str) -> None:
        self.model = model
        self._decisions = database["decisions"]
        self._watch = database["watch"]

    def state(self) -> tuple[State, int]:
        """The state at the last check, and the number of checks so far.

        If the process that had to act has died, it is the state before: the action is due again.
        """
        found = self._watch.find_one({"_id": self.model})
        if found is None or "state" not in found:
            return State(), 0
        unreached = found.get("unreached")
        state: dict[str, Any] = unreached if unreached and not self.acting() else found["state"]
        return State(**state | {"silent": tuple(state["silent"])}), found["looks"]

    def looked(self, figures: Figures, state: State, looks: int, unreached: State | None = None) -> bool:
        """Store the latest check, its figures and state; return whether it was stored.

        Args:
            looks: number of checks when this one began. If it has grown, another process checked meanwhile and nothing
                is stored: of two concurrent checks, one decides.
            unreached: the state to fall back to if the acting process dies before it is done.
        """
        document = {"looks": looks + 1, "time": figures.time, "figures": figures.record(), "state": asdict(state)}
        document["unreached"] = asdict(unreached) if unreached else None
        if not looks:
            with suppress(DuplicateKeyError):
                self._watch.insert_one({"_id": self.model, "looks": 0})
        change = {"$set": document, "$currentDate": {"beat": True}}
        return self._watch.update_one({"_id": self.model, "looks": looks}, change).matched_count == 1

    def remember(self, state: State) -> None:
        """Store a state; no action is in progress any more."""
        self._watch.update_one({"_id": self.model}, {"$set": {"state": asdict(state), "unreached": None}})

    def acting(self) -> bool:
        """Whether a decision is being carried out: its last heartbeat is less than 2 minutes old.

        Times are the store's, so the clocks of machines may differ.
        """
        found = self._watch.find_one_and_update(
            {"_id": self.model, "unreached": {"$ne": None}},
            {"$currentDate": {"asked": True}},
            return_document=ReturnDocument.AFTER,
        )
        return found is not None and timedelta(0) <= found["asked"] - found["beat"] < _SILENT

    def beat(self) -> None:
        """Send a heartbeat."""
        self._watch.update_one({"_id": self.model}, {"$currentDate": {"beat": True}})

    def done(self) -> None:
        """Record that the decision was carried out."""
        self._watch.update_one({"_id": self.model}, {"$set": {"unreached": None}})

    def last_look(self) -> tuple[datetime, dict[str, Any]] | None:
        """Time and figures of the last check; None before the first."""
        found = self._watch.find_one({"_id": self.model})
        return (found["time"], found["figures"]) if found and "figures" in found else None

    def append(self, time: datetime, decision: Decision) -> None:
        """Append a decision; decisions are never changed."""
        self._decisions.insert_one({"model": self.model, "time": time, **asdict(decision)})

    def decisions(self, most: int) -> list[dict[str, Any]]:
        """The latest decisions, oldest first."""
        found = self._decisions.find({"model": self.model}, {"_id": 0}, sort=[("time", -1), ("_id", -1)], limit=most)
        return list(found)[::-1]
