"""A registered version's bundle, fetched through the MLflow server that keeps it, and verified."""

import shutil
import tempfile
from pathlib import Path

from textmill.gpt2.formats import bundle
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
        parameters = {"name": version.name, "version": str(version.number)}
        uri = str(server.call("GET", "model-versions/get-download-uri", parameters)["artifact_uri"])
        root = f"{uri}/artifacts/{BUNDLE}"
        for path in server.files(root):
            _fetch(server, version, root, path, partial)
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


def _fetch(server: MlflowServer, version: Version, root: str, path: str, into: Path) -> None:
    target = into / path
    if not target.resolve().is_relative_to(into.resolve()):
        raise UserError(
            f"Version {version.number} of '{version.name}' names a file outside its folder: {path}; do not use it."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    server.get_file(root, path, target)
