"""Upload a compiled pipeline to Kubeflow Pipelines and start a run, with kfp's client."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from textmill.ground.environment import without_password
from textmill.ground.errors import TextmillError, UserError
from textmill.settings.pipeline import Kubeflow

if TYPE_CHECKING:
    from kfp import Client

TOKEN = "KF_PIPELINES_TOKEN"
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"  # kfp's own, for a service account's token that Kubernetes renews in a file
_ANSWER_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submitted run."""

    id: str
    address: str  # of its page


def parameters(given: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` pairs as a pipeline's parameters.

    Raises:
        UserError: one is not a pair, its parameter is unknown, or `steps` is not a whole number above 0.
    """
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise UserError(f"'{pair}' sets no parameter; write NAME=VALUE with one of {', '.join(known)}.")
        found[name] = value
    if "steps" in found:
        if not found["steps"].isdecimal() or int(found["steps"]) < 1:
            raise UserError(f"steps={found['steps']} is not a whole number above 0; give one, such as steps=600.")
        found["steps"] = int(found["steps"])
    return found


def submit(settings: Kubeflow, name: str, file: Path, given: dict[str, Any]) -> Submitted:
    """Upload the file, as a new version if the pipeline exists, and start a run in the experiment of that name.

    Raises:
        UserError: no host is set, it does not answer, or it refuses the token.
        TextmillError: Kubeflow Pipelines returned an error.
    """
    if not urlsplit(settings.host).hostname:
        raise UserError(
            f"kubeflow.host is '{settings.host}', not an address; set it to the address of Kubeflow Pipelines, "
            "such as http://localhost:8080 after 'kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80'."
        )
    _check(settings)
    title = f"{name} {datetime.now(UTC):%Y-%m-%d %H-%M-%S}"
    with _clear_errors(settings.host):
        client = _client(settings)
        version = _upload(client, settings, name, title, file)
        namespace = settings.namespace or None
        experiment = client.create_experiment(name, namespace=namespace)
        run = client.run_pipeline(
            experiment.experiment_id,
            title,
            pipeline_id=version.pipeline_id,
            version_id=version.pipeline_version_id,
            params=given,
            pipeline_root=settings.root,
        )
    return Submitted(run.run_id, f"{settings.host.rstrip('/')}/#/runs/details/{run.run_id}")


def _check(settings: Kubeflow) -> None:
    """Raise UserError unless Kubeflow Pipelines answers: kfp's client would try for half a minute."""
    shown = without_password(settings.host)
    token = _token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(
            f"{settings.host.rstrip('/')}/apis/v2beta1/healthz", headers=headers, timeout=_ANSWER_WITHIN_S
        )
    except requests.RequestException as error:
        raise UserError(
            f"Kubeflow Pipelines at {shown} does not answer ({type(error).__name__}); check kubeflow.host."
        ) from error
    if answer.status_code in (401, 403):
        raise _no_access(shown, answer.status_code)
    if not answer.ok or "json" not in answer.headers.get("Content-Type", ""):
        raise UserError(f"The server at {shown} is not Kubeflow Pipelines 2; check kubeflow.host.")


def _no_access(shown: str, status: int) -> UserError:
    return UserError(f"Kubeflow Pipelines at {shown} refused access (status {status}); set {TOKEN} to your token.")


def _token() -> str | None:
    """The token that there is already, in its variable or in a file."""
    if token := os.environ.get(TOKEN):
        return token
    if file := os.environ.get(TOKEN_FILE):
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"{TOKEN_FILE} names {file}, which cannot be read ({error.strerror}).") from error
    return None


def _client(settings: Kubeflow) -> "Client":
    from kfp import Client

    return Client(
        host=settings.host,
        namespace=settings.namespace or "kubeflow",
        existing_token=_token(),
        verify_ssl=True,
    )


def _upload(client: "Client", settings: Kubeflow, name: str, title: str, file: Path) -> Any:
    """The uploaded version."""
    known = _known(client, name, settings.namespace or None)
    if known is None:
        pipeline = client.upload_pipeline(str(file), name, namespace=settings.namespace or None)
        (version,) = client.list_pipeline_versions(pipeline.pipeline_id, page_size=1).pipeline_versions
        return version
    return client.upload_pipeline_version(str(file), title, pipeline_id=known)


def _known(client: "Client", name: str, namespace: str | None) -> str | None:
    """The id of the pipeline of this name, in the namespace if there is one: kfp's `get_pipeline_id` knows none."""
    named = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    found = client.list_pipelines(filter=json.dumps({"predicates": [named]}), namespace=namespace).pipelines
    return str(found[0].pipeline_id) if found else None


@contextmanager
def _clear_errors(host: str) -> Iterator[None]:
    """Say in a sentence what kfp's client reports as a page of its internals."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    shown = without_password(host)
    try:
        yield
    except HTTPError as error:
        raise UserError(
            f"Kubeflow Pipelines at {shown} stopped answering ({type(error).__name__}); try again."
        ) from error
    except ApiException as error:
        if error.status in (401, 403):
            raise _no_access(shown, error.status) from error
        raise TextmillError(f"Kubeflow Pipelines at {shown} refused ({error.status}): {_said(error)}") from error


def _said(error: Any) -> str:
    try:
        said = json.loads(error.body)
    except (TypeError, ValueError):
        return str(error.reason)
    return str(said.get("message") or said.get("error_message") or said.get("error") or error.reason)
