"""Environment variables: server addresses, with passwords, and settings that do not change results."""

import json
import os
from typing import Any

from textmill.ground.errors import UserError

MONGODB = "TEXTMILL_MONGODB_URI"
MLFLOW = "MLFLOW_TRACKING_URI"
HOW = "TEXTMILL_HOW"  # JSON: settings that change how a step works, and nothing of what it makes


def address(variable: str) -> str:
    """The address in an environment variable.

    Raises:
        UserError: the variable is not set.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise UserError(f"{variable} is not set; start the local servers with 'textmill up' or set it to yours.")
    return value


def how(name: str, default: Any) -> Any:
    """A setting that changes how a step works but not its result; such settings are not parameters."""
    return json.loads(os.environ.get(HOW) or "{}").get(name, default)


def run_name() -> str:
    """The name of the current pipeline run; Kubeflow sets its own."""
    return os.environ.get("TEXTMILL_RUN") or os.environ.get("KFP_RUN_ID") or "by hand"


def without_password(uri: str) -> str:
    """A URI for messages, without what stands between '//' and '@'."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
