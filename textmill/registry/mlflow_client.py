"""MLflow's REST API, version 2.0: importing `mlflow` takes five seconds, and a reviewer's command should take one."""

import random
import time
from typing import Any

import requests

from textmill.ground.environment import without_password
from textmill.ground.errors import TextmillError, UserError

_ANSWER_WITHIN_S = 5
_SILENCE_S = 60  # of a server that sends a file
_TRIES = 4
_BUSY = {429, 502, 503, 504}
# what MLflow passes on of its database where two calls write the same row at once; one of them has done nothing
_COLLISIONS = (
    "database is locked",
    "IntegrityError",
    "UniqueViolation",
    "StaleDataError",
    "expected to delete",
    "deadlock",
)


class MlflowServer:
    """One MLflow tracking server."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._session = requests.Session()

    @property
    def shown(self) -> str:
        """Its address, fit for a message."""
        return without_password(self.uri)

    def call(self, method: str, path: str, values: dict[str, Any]) -> dict[str, Any]:
        """Call one endpoint and return its JSON; the values are the query of a GET, else the body.

        A server that is busy is asked again, and so is one whose database refused to write a row twice at once: such a
        call has done nothing.

        Raises:
            UserError: nothing answers there, or something that is not MLflow.
            MlflowRefusal: MLflow said no.
        """
        for attempt in range(1, _TRIES + 1):
            answer = self._ask(method, path, values)
            if answer.ok:
                return self._json(answer)
            refusal = MlflowRefusal(path, answer)
            if not refusal.busy or attempt == _TRIES:
                raise refusal
            time.sleep(random.uniform(0.05, 0.2) * attempt)
        raise AssertionError

    def stream(self, path: str) -> requests.Response:
        """Open a file for reading piece by piece; the caller closes it."""
        return self._session.get(self._url(path), stream=True, timeout=(_ANSWER_WITHIN_S, _SILENCE_S))

    def _ask(self, method: str, path: str, values: dict[str, Any]) -> requests.Response:
        body: dict[str, Any] = {"params": values} if method == "GET" else {"json": values}
        try:
            return self._session.request(method, self._url(path), timeout=_ANSWER_WITHIN_S, **body)
        except requests.RequestException as error:
            raise UserError(
                f"MLflow at {self.shown} does not answer ({type(error).__name__}); "
                "start it with 'textmill up' or set MLFLOW_TRACKING_URI."
            ) from error

    def _json(self, answer: requests.Response) -> dict[str, Any]:
        try:
            return dict(answer.json())
        except ValueError:
            raise UserError(f"What answers at {self.shown} is no MLflow; check MLFLOW_TRACKING_URI.") from None

    def _url(self, path: str) -> str:
        prefix = "" if path.startswith("mlflow-artifacts/") else "mlflow/"
        return f"{self.uri}/api/2.0/{prefix}{path}"


class MlflowRefusal(TextmillError):
    """MLflow answered, and said no."""

    def __init__(self, path: str, answer: requests.Response) -> None:
        try:
            said = answer.json()
        except requests.JSONDecodeError:
            said = {}
        self.code: str = said.get("error_code", "")
        self.status = answer.status_code
        message = str(said.get("message", f"status {answer.status_code}"))
        self.busy = self.status in _BUSY or any(words in message for words in _COLLISIONS)
        self.exit_code = 2 if self.status in (401, 403) else 1  # a wrong name or password is the user's
        super().__init__(f"MLflow refused {path}: {message}")
