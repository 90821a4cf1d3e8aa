"""Addresses, with the passwords they may hold, come from the environment where they are used, and nowhere else."""

import json
import os
from typing import Any

from textmill.ground.errors import UserError

MONGODB = "TEXTMILL_MONGODB_URI"
MLFLOW = "MLFLOW_TRACKING_URI"
HOW = "TEXTMILL_HOW"  # JSON: settings that change how a step works, and nothing of what it makes


def address(variable: str) -> str:
    """The address that a variable of the environment names.

    Raises:
        UserError: it names none.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise UserError(f"{variable} is not set; start the local servers with 'textmill up' or set it to yours.")
    return value


def how(name: str, default: Any) -> Any:
    """One of the settings that change how a step works, and nothing of what it makes; so they are no parameters."""
    return json.loads(os.environ.get(HOW) or "{}").get(name, default)


def run_name() -> str:
    """The name of the pipeline run that this process belongs to; Kubeflow gives its own."""
    return os.environ.get("TEXTMILL_RUN") or os.environ.get("KFP_RUN_ID") or "by hand"


def without_password(uri: str) -> str:
    """A URI fit for a message: what stands between '//' and '@' is left out."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
