"""What watching decided, with its figures, and what it remembers: two collections beside the articles."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from textmill.monitoring.decisions import Decision, Figures, State


class WatchLog:
    """Decisions and memory of watching one model; whoever watches, from wherever, shares them."""

    def __init__(self, database: Database[dict[str, Any]], model: str) -> None:
        self.model = model
        self._decisions = database["decisions"]
        self._watch = database["watch"]

    def state(self) -> tuple[State, int]:
        """What was remembered at the last look, and how many there have been."""
        found = self._watch.find_one({"_id": self.model})
        if found is None:
            return State(), 0
        return State(**found["state"] | {"silent": tuple(found["state"]["silent"])}), found["looks"]

    def looked(self, figures: Figures, state: State, looks: int) -> bool:
        """Keep the latest look: its figures, and what to remember.

        Args:
            looks: how many there had been when it began; where there are more by now, somebody else looked meanwhile,
                nothing is kept, and the answer is no: of two at once, one decides.
        """
        document = {"looks": looks + 1, "time": figures.time, "figures": figures.record(), "state": asdict(state)}
        if looks:
            return self._watch.replace_one({"_id": self.model, "looks": looks}, document).matched_count == 1
        try:
            self._watch.insert_one({"_id": self.model, **document})
        except DuplicateKeyError:
            return False
        return True

    def remember(self, state: State) -> None:
        """Change what is remembered, and nothing else."""
        self._watch.update_one({"_id": self.model}, {"$set": {"state": asdict(state)}})

    def last_look(self) -> tuple[datetime, dict[str, Any]] | None:
        """When somebody last looked, and what the figures were."""
        found = self._watch.find_one({"_id": self.model})
        return (found["time"], found["figures"]) if found else None

    def append(self, time: datetime, decision: Decision) -> None:
        """Add a decision; none is ever changed."""
        self._decisions.insert_one({"model": self.model, "time": time, **asdict(decision)})

    def decisions(self, most: int) -> list[dict[str, Any]]:
        """The latest decisions, the oldest of them first."""
        found = self._decisions.find({"model": self.model}, {"_id": 0}, sort=[("time", -1), ("_id", -1)], limit=most)
        return list(found)[::-1]
