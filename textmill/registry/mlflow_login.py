"""How to log in to MLflow and whose certificate to trust, by MLflow's own variables.

| variable | meaning |
|---|---|
| `MLFLOW_TRACKING_USERNAME`, `MLFLOW_TRACKING_PASSWORD` | a login; a name and password in the address come first |
| `MLFLOW_TRACKING_TOKEN` | a bearer token, where no name is set |
| `MLFLOW_TRACKING_INSECURE_TLS` | `true`: any certificate is accepted |
| `MLFLOW_TRACKING_SERVER_CERT_PATH` | the file of a certificate authority |
"""

import os
from urllib.parse import SplitResult, unquote

import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth


class _Token(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def login(parts: SplitResult) -> AuthBase | None:
    """The address's own login, or else the environment's."""
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not name:
        name = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if name:
        return HTTPBasicAuth(name.encode(), password.encode())  # bytes: `requests` would take Latin-1
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "").strip()
    return _Token(token) if token else None


def certificates() -> bool | str | None:
    """What a server's certificate is checked with; None: what `requests` does by itself."""
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # whoever set the variable knows
        return False
    return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None
