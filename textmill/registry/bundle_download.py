"""A registered version's bundle, fetched through the MLflow server that keeps it, and verified."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import requests

from textmill.gpt2.formats import bundle
from textmill.ground.environment import without_password
from textmill.ground.errors import UserError
from textmill.registry.bundle_cache import Hold
from textmill.registry.mlflow_client import MlflowServer
from textmill.registry.versions import Version

BUNDLE = "bundle"  # the artifact of a registered model that holds what serving loads


def hold(server: MlflowServer, version: Version, into: Path) -> Hold:
    """The version's bundle in a folder below `into`, fetched unless it is there and whole; held, so that it stays there.

    Raises:
        UserError: a file is damaged, or is not what the version's checksum says.
    """
    target = into / f"{version.name}-{version.number}-{version.checksum[:12]}"
    while True:
        try:
            held = Hold(target)
        except FileNotFoundError:
            if fetched := _fetched(server, version, target):
                return fetched
            continue  # another process was quicker
        try:
            _verify(version, target)
        except BaseException:
            held.release()
            raise
        return held


def _fetched(server: MlflowServer, version: Version, target: Path) -> Hold | None:
    """The bundle fetched and verified; None where it has come to be there meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    held = Hold(partial)
    try:
        root = f"{_artifact_root(server, version)}/artifacts/{BUNDLE}"
        for path in _files(server, root):
            _fetch(server, version, f"{root}/{path}", partial, path)
        _verify(version, partial)
        partial.rename(target)
        held.moved(target)
        return held
    except BaseException as error:
        held.release()
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and target.exists():
            return None
        raise


def _verify(version: Version, directory: Path) -> None:
    if bundle.verify(directory) != version.checksum:
        raise UserError(
            f"Version {version.number} of '{version.name}' is not what was registered (its manifest's checksum differs); "
            f"delete {directory} and try again, or roll back."
        )


def _artifact_root(server: MlflowServer, version: Version) -> str:
    parameters = {"name": version.name, "version": str(version.number)}
    uri = str(server.call("GET", "model-versions/get-download-uri", parameters)["artifact_uri"])
    prefix = "mlflow-artifacts:/"
    if not uri.startswith(prefix):
        raise UserError(
            f"Version {version.number} of '{version.name}' is stored at {without_password(uri)}, which its MLflow server does not "
            "pass on; start the server with --serve-artifacts."
        )
    path = uri.removeprefix(prefix).lstrip("/")
    # mlflow-artifacts://host/path names its server; this one is the server we speak to
    return path if not uri.startswith(prefix + "/") else path.partition("/")[2]


def _files(server: MlflowServer, root: str) -> Iterator[str]:
    folders = [""]
    while folders:
        folder = folders.pop()
        answer = server.call("GET", "mlflow-artifacts/artifacts", {"path": f"{root}/{folder}".rstrip("/")})
        for entry in answer.get("files", []):
            path = f"{folder}/{Path(entry['path']).name}".lstrip("/")
            if entry.get("is_dir"):
                folders.append(path)
            else:
                yield path


def _fetch(server: MlflowServer, version: Version, source: str, into: Path, path: str) -> None:
    target = into / path
    if not target.resolve().is_relative_to(into.resolve()):
        raise UserError(
            f"Version {version.number} of '{version.name}' names a file outside its folder: {path}; do not use it."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with server.stream(f"mlflow-artifacts/artifacts/{quote(source)}") as answer, target.open("wb") as file:
            answer.raise_for_status()
            for block in answer.iter_content(1 << 20):
                file.write(block)
    except requests.RequestException as error:
        problem = f"status {answer.status_code}" if isinstance(error, requests.HTTPError) else type(error).__name__
        raise UserError(
            f"{path} of version {version.number} cannot be fetched from MLflow ({problem}); try again."
        ) from error
