"""One MongoDB database, opened; everything that Textmill stores is in one."""

from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

ANSWER_WITHIN_S = 3  # how long a store may take to answer; with the start of a command, a person waits five seconds


def database(uri: str, name: str) -> Database[dict[str, Any]]:
    """The database, not asked anything yet: what is asked of it fails after three seconds where nothing answers.

    Raises:
        PyMongoError, ValueError: the address is wrong.
    """
    wait_ms = ANSWER_WITHIN_S * 1000
    client: MongoClient[dict[str, Any]] = MongoClient(
        uri, tz_aware=True, serverSelectionTimeoutMS=wait_ms, connectTimeoutMS=wait_ms
    )
    return client[name]
