"""The only MLflow client: REST API 2.0, and files through its artifact proxy.

Importing `mlflow` takes 5 seconds; a reviewer's command should take 1.
"""

import math
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BufferedReader
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3

from textmill.ground.environment import without_password
from textmill.ground.errors import TextmillError, UserError
from textmill.registry import mlflow_login

_CONNECT_WITHIN_S = 5
_ANSWER_WITHIN_S = 60  # a busy server needs long: with a login MLflow hashes the password at each request
_FILE_WITHIN_S = 60  # silence while a file is fetched
_STORED_WITHIN_S = 600  # silence after a file was sent: the server passes it on to its own store first
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
_AT_ONCE = {"metrics": 800, "params": 100, "tags": 100}  # in one request; MLflow takes 1,000 in all
_ARTIFACTS = "mlflow-artifacts:/"


class MlflowServer:
    """One MLflow tracking server."""

    def __init__(self, uri: str, within_s: float | None = None) -> None:
        """Nothing is sent yet.

        Args:
            uri: the address with its path prefix, if any, such as `https://host/mlflow`.
            within_s: how long an answer is waited for; None: as long as a busy server may need.
        """
        self._within_s = within_s
        self.uri = uri.rstrip("/")
        try:
            parts = urlsplit(self.uri)
        except ValueError as error:
            raise UserError(
                f"MLFLOW_TRACKING_URI is not an address ({error}); set it to one like https://host/mlflow."
            ) from None
        self.shown = self._base = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._session = requests.Session()
        self._session.auth = mlflow_login.login(parts)
        # given with each request: where the session has it, the variable REQUESTS_CA_BUNDLE would win
        self._verify = mlflow_login.certificates()

    def call(self, method: str, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Call one endpoint and return its JSON; the values are the query of a GET, else the body.

        Raises:
            UserError: nothing answers, or not MLflow.
            LoginRefused: the server requires a login, or refuses this one.
            MlflowRefusal: MLflow returned an error.
        """
        body: dict[str, Any] = {"params": values} if method == "GET" else {"json": values}
        answer = self._accepted(method, path, **body)
        try:
            return dict(answer.json())
        except ValueError:
            raise UserError(f"The server at {self.shown} is not MLflow; check MLFLOW_TRACKING_URI.") from None

    def seconds_behind(self) -> float | None:
        """By how many seconds this machine's clock is behind the server's; None if the server names no time.

        Raises:
            UserError: as `call`.
        """
        said = self._accepted("GET", "experiments/get", params={"experiment_id": "0"}).headers.get("Date")
        try:
            return (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds() if said else None
        except ValueError:
            return None

    def experiment(self, name: str) -> str:
        """The id of the experiment with this name; create it if there is none."""
        try:
            answer = self.call("GET", "experiments/get-by-name", {"experiment_name": name})["experiment"]
        except MlflowRefusal as refusal:
            if refusal.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            answer = self.call("POST", "experiments/create", {"name": name})
        return str(answer["experiment_id"])

    def log(
        self,
        run_id: str,
        metrics: Iterable[Mapping[str, Any]] = (),
        parameters: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Log to a run, in as few requests as MLflow allows.

        Args:
            metrics: each with `key`, `value`, `timestamp` (in milliseconds) and `step`.
        """
        rows = {
            "metrics": [{**metric, "value": _number(metric["value"])} for metric in metrics],
            "params": [{"key": key, "value": str(value)} for key, value in (parameters or {}).items()],
            "tags": [{"key": key, "value": str(value)} for key, value in (tags or {}).items()],
        }
        while some := {kind: left[: _AT_ONCE[kind]] for kind, left in rows.items() if left}:
            self.call("POST", "runs/log-batch", {"run_id": run_id, **some})
            rows = {kind: left[_AT_ONCE[kind] :] for kind, left in rows.items()}

    def files(self, root: str) -> Iterator[str]:
        """Paths of all files below an artifact's URI.

        Raises:
            UserError: the server does not proxy this URI; and as `call`.
        """
        place, folders = self._place(root), [""]
        while folders:
            folder = folders.pop()
            answer = self.call("GET", "mlflow-artifacts/artifacts", {"path": f"{place}/{folder}".rstrip("/")})
            for entry in answer.get("files", []):
                path = f"{folder}/{Path(entry['path']).name}".lstrip("/")
                if entry.get("is_dir"):
                    folders.append(path)
                else:
                    yield path

    def get_file(self, root: str, name: str, into: Path) -> None:
        """Fetch the file `name` below an artifact's URI.

        Raises:
            UserError: it cannot be fetched.
        """
        path = f"mlflow-artifacts/artifacts/{quote(f'{self._place(root)}/{name}')}"
        try:
            with self._ask("GET", path, _FILE_WITHIN_S, stream=True) as answer, into.open("wb") as file:
                if not answer.ok:
                    raise self._refusal(path, answer)
                for block in answer.iter_content(1 << 20):
                    file.write(block)
        except requests.RequestException as error:
            raise UserError(
                f"{name} cannot be fetched from MLflow at {self.shown} ({type(error).__name__}); try again."
            ) from error

    def put_file(self, root: str, name: str, source: Path | bytes) -> None:
        """Store a file below an artifact's URI; overwrite the old one.

        Raises:
            UserError: the server does not proxy this URI; and as `call`.
        """
        path = f"mlflow-artifacts/artifacts/{quote(f'{self._place(root)}/{name}')}"
        if isinstance(source, bytes) or source.stat().st_size == 0:  # an empty file would be sent without its length
            self._accepted("PUT", path, _STORED_WITHIN_S, data=source if isinstance(source, bytes) else b"")
            return
        with source.open("rb") as file:
            self._accepted("PUT", path, _STORED_WITHIN_S, data=file)

    def passes_on(self, root: str) -> bool:
        """Whether this server proxies the files of an artifact's URI."""
        return root.startswith(_ARTIFACTS)

    def _place(self, root: str) -> str:
        """What `root`, such as `mlflow-artifacts:/1/2`, is called at this server."""
        if not self.passes_on(root):
            raise UserError(
                f"MLflow at {self.shown} does not proxy the files at {without_password(root)}; start the "
                "server with --serve-artifacts."
            )
        path = root.removeprefix(_ARTIFACTS)
        # mlflow-artifacts://host/path names its server; this one is the server we speak to
        return (path[1:].partition("/")[2] if path.startswith("/") else path).strip("/")

    def _accepted(self, method: str, path: str, within_s: float | None = None, **options: Any) -> requests.Response:
        """The answer to a request that MLflow has carried out.

        A server that is busy is asked again, and so is one whose database refused to write a row twice at once: such a
        call has done nothing.
        """
        for attempt in range(1, _TRIES + 1):
            answer = self._ask(method, path, within_s, **options)
            if answer.ok:
                return answer
            refusal = self._refusal(path, answer)
            if not refusal.busy or attempt == _TRIES:
                raise refusal
            time.sleep(random.uniform(0.05, 0.2) * attempt)
        raise AssertionError

    def _ask(self, method: str, path: str, within_s: float | None = None, **options: Any) -> requests.Response:
        """Send one request; once more where the server dropped the connection, which it does to one that rests."""
        url = f"{self._base}/api/2.0/{path if path.startswith('mlflow-artifacts/') else f'mlflow/{path}'}"
        options |= {
            "timeout": (_CONNECT_WITHIN_S, within_s or self._within_s or _ANSWER_WITHIN_S),
            "verify": self._verify,
        }
        for again in (True, False):
            if isinstance(sent := options.get("data"), BufferedReader):
                sent.seek(0)
            try:
                return self._session.request(method, url, **options)
            except requests.RequestException as error:
                if not (again and _dropped(error)):
                    problem = f"MLflow at {self.shown} does not answer ({type(error).__name__})"
                    raise UserError(f"{problem}; {_cure(error)}") from error
        raise AssertionError

    def _refusal(self, path: str, answer: requests.Response) -> "MlflowRefusal":
        """What an answer other than success means."""
        try:
            said = dict(answer.json())
        except ValueError:
            said = {}
        code, status = str(said.get("error_code", "")), answer.status_code
        if status == 401:
            cure = "check" if self._session.auth else "set"
            what = "refuses this login" if self._session.auth else "requires a login"
            names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            return LoginRefused(f"MLflow at {self.shown} {what}; {cure} {names}.", code, status)
        if status == 403:
            why = str(said.get("message", "")) or " ".join(answer.text.split())[:200] or "status 403"
            cure = "ask for the permission, or log in as another user with MLFLOW_TRACKING_USERNAME and _PASSWORD"
            return LoginRefused(f"MLflow at {self.shown} forbids {path} ({why.rstrip('.')}); {cure}.", code, status)
        if status == 404 and not code:
            cure = "check the path at the end of MLFLOW_TRACKING_URI"
            return MlflowRefusal(f"MLflow at {self.shown} does not know {path} (status 404); {cure}.", code, status)
        message = str(said.get("message", f"status {status}"))
        busy = status in _BUSY or any(words in message for words in _COLLISIONS)
        return MlflowRefusal(f"MLflow refused {path}: {message}", code, status, busy)


class MlflowRefusal(TextmillError):
    """MLflow answered with an error."""

    def __init__(self, sentence: str, code: str, status: int, busy: bool = False) -> None:
        super().__init__(sentence)
        self.code = code  # MLflow's own, such as RESOURCE_DOES_NOT_EXIST
        self.status = status
        self.busy = busy


class LoginRefused(MlflowRefusal, UserError):
    """MLflow requires a login, or one with more permissions."""


def _dropped(error: requests.RequestException) -> bool:
    """Whether the connection was made and ended without an answer, as happens to one that the server had kept long enough."""
    made = isinstance(error, requests.ConnectionError) and bool(error.args)
    return made and isinstance(error.args[0], urllib3.exceptions.ProtocolError)


def _cure(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of its certificate authority."
    return "start it with 'textmill up' or set MLFLOW_TRACKING_URI."


def _number(value: float) -> float | str:
    """A figure in JSON, which has no word for the last three of these."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
