"""What readers think of served texts: the collection `feedback`, one document for each reader and text.

A rating's id is made of its text and its reader, so a rating delivered twice is stored once, and a reader who changes
their mind has one rating.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from textmill.ground.environment import without_password
from textmill.ground.errors import UserError

if TYPE_CHECKING:
    from pymongo.collection import Collection

_LIKED = 0.5  # a reward from here on counts as approval


@dataclass(frozen=True, slots=True)
class Rating:
    """One reader's opinion of one text."""

    id: str
    text_id: str
    reader: str  # a hash: who it is, is nobody's business here
    reward: float  # 1: liked, 0: not; Seldon's clients may send any number
    time: str  # ISO 8601, UTC
    model: str
    version: int | None  # None: a bundle served from a directory
    checksum: str
    comment: str = ""
    truth: Any = None  # what should have been answered, as Seldon's clients may say

    @property
    def liked(self) -> bool:
        """Whether it counts as approval."""
        return self.reward >= _LIKED


@dataclass(frozen=True, slots=True)
class Approval:
    """How the texts of one version were received."""

    up: int
    down: int

    @property
    def share(self) -> float:
        """Of the ratings, how many approve; from 0 to 1."""
        return self.up / (self.up + self.down)


def rating_id(text_id: str, reader: str) -> str:
    """The id of this reader's rating of this text."""
    return "fb_" + hashlib.sha256(f"{text_id}\0{reader}".encode()).hexdigest()[:24]


def reader_hash(reader: str) -> str:
    """What is stored of a reader's name."""
    return hashlib.sha256(f"textmill reader\0{reader}".encode()).hexdigest()[:16] if reader else ""


class FeedbackStore:
    """The ratings of all models in one MongoDB database."""

    def __init__(self, collection: "Collection[dict[str, Any]]") -> None:
        self._ratings = collection

    @classmethod
    def connect(cls, uri: str, database: str) -> "FeedbackStore":
        """Open the collection and create its index.

        Raises:
            UserError: nothing answers at `uri` within three seconds.
        """
        # imported here: the server makes ratings, and another process delivers them
        from pymongo import ASCENDING
        from pymongo.errors import PyMongoError

        from textmill.articles.database import database as open_database

        try:
            ratings = open_database(uri, database)["feedback"]
            ratings.create_index([("model", ASCENDING), ("version", ASCENDING)])
        except (PyMongoError, ValueError) as error:  # ValueError: the address itself is wrong
            raise _silent(uri, error) from error
        return cls(ratings)

    def put(self, ratings: Sequence[Rating]) -> None:
        """Store ratings; of several with one id the last stays.

        Raises:
            UserError: the store does not answer.
        """
        from pymongo import ReplaceOne
        from pymongo.errors import BulkWriteError, InvalidDocument, PyMongoError

        last = {rating.id: rating for rating in ratings}
        documents = [{"_id": rating.id, **_without_id(rating)} for rating in last.values()]
        try:
            self._ratings.bulk_write([ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in documents])
        except (BulkWriteError, InvalidDocument):
            raise  # the store answers, and will not have one of them
        except PyMongoError as error:
            raise _silent("", error) from error

    def approvals(self, model: str) -> dict[int, Approval]:
        """How each registered version of a model was received; versions without a rating are left out."""
        found: dict[int, list[int]] = {}
        for each in self._ratings.find({"model": model, "version": {"$ne": None}}, {"version": 1, "reward": 1}):
            counts = found.setdefault(int(each["version"]), [0, 0])
            counts[0 if each["reward"] >= _LIKED else 1] += 1
        return {version: Approval(up, down) for version, (up, down) in sorted(found.items())}

    def all(self) -> list[dict[str, Any]]:
        """Every rating, the oldest first."""
        return list(self._ratings.find({}, sort=[("time", 1)]))


def tags(approval: Approval) -> Mapping[str, str]:
    """What a version's page in MLflow says of its readers."""
    return {
        "feedback_up": str(approval.up),
        "feedback_down": str(approval.down),
        "feedback_share": f"{approval.share:.3f}",
    }


def _without_id(rating: Rating) -> dict[str, Any]:
    document = asdict(rating)
    del document["id"]
    return document


def _silent(uri: str, error: Exception) -> UserError:
    where = f" at {without_password(uri)}" if uri else ""
    return UserError(f"The feedback store{where} does not answer ({type(error).__name__}); see TEXTMILL_MONGODB_URI.")
