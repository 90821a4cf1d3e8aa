"""Make API keys for the server; its file keeps only their hashes."""

import hashlib
import re
import secrets
from dataclasses import dataclass

from textmill.ground.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and its line for the server's file."""

    key: str
    line: str


def make(name: str) -> NewKey:
    """A new key of 256 random bits.

    Raises:
        UserError: the name is not valid.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"'{name}' is not a valid key name; use letters, digits, dots and dashes.")
    key = f"tm_{secrets.token_urlsafe(32)}"
    return NewKey(key, f"{name}:sha256:{hash_of(key)}")


def hash_of(key: str) -> str:
    """SHA-256 as hex digits: enough for a key that cannot be guessed."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
