"""The model registry: versions, their stages, and who moved them why.

MLflow keeps it; this module speaks MLflow's REST API (version 2.0 of the protocol), because importing `mlflow` takes
five seconds and a reviewer's `textmill promote` should take one. Stages are MLflow's own (None, Staging, Production,
Archived), which MLflow has deprecated but serves; every call that depends on them is in `_move`.
"""

import getpass
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from textmill.environment import without_password
from textmill.errors import TextmillError, UserError
from textmill.gpt2 import bundle

STAGES = ("None", "Staging", "Production", "Archived")
BUNDLE = "bundle"  # the artifact of a registered model that holds what serving loads
_MOVE = "move."  # tags of a version whose names begin so are its promotion log
_ANSWER_WITHIN_S = 5
_SILENCE_S = 60  # of a server that sends a file


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of the registered model."""

    name: str
    number: int
    stage: str
    run_id: str
    created: datetime
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """The checksum of its bundle's manifest."""
        return self.tags.get("checksum", "")

    @property
    def refused(self) -> str | None:
        """Why Evaluate refused it, or None."""
        return self.tags.get("refused")


@dataclass(frozen=True, slots=True)
class Move:
    """One entry of the promotion log."""

    version: int
    time: str  # ISO 8601, UTC
    who: str
    former: str
    stage: str
    why: str
    figures: dict[str, str] = field(default_factory=dict)


class ModelRegistry:
    """The versions of one registered model at one MLflow server."""

    def __init__(self, tracking_uri: str, name: str) -> None:
        self.tracking_uri = tracking_uri.rstrip("/")
        self.name = name
        self._session = requests.Session()

    def check(self) -> None:
        """Raise UserError unless the server answers within five seconds."""
        self._call("GET", "experiments/get-by-name", {"experiment_name": "Default"})

    def identity(self) -> str:
        """What tells this registry from another at the same address: its default experiment's birth.

        A cached Register step is right only for the registry that it wrote to.
        """
        answer = self._call("GET", "experiments/get", {"experiment_id": "0"})
        return f"{without_password(self.tracking_uri)}#{answer['experiment'].get('creation_time', 0)}"

    def versions(self) -> list[Version]:
        """All versions, the newest first; none where the model is not registered yet."""
        found: list[Version] = []
        parameters = {"filter": f"name='{self.name}'", "max_results": "1000"}
        while True:
            answer = self._call("GET", "model-versions/search", parameters)
            found += [_version(entry) for entry in answer.get("model_versions", [])]
            if not answer.get("next_page_token"):
                return sorted(found, key=lambda version: -version.number)
            parameters["page_token"] = answer["next_page_token"]

    def version(self, number: int) -> Version:
        """The version with this number; UserError where there is none."""
        for version in self.versions():
            if version.number == number:
                return version
        raise UserError(f"'{self.name}' has no version {number}; 'textmill status' lists those it has.")

    def resolve(self, stage: str) -> Version | None:
        """The version in this stage now, the newest if there are several, or None."""
        return next((version for version in self.versions() if version.stage == stage), None)

    def with_checksum(self, checksum: str) -> Version | None:
        """The version that holds exactly this bundle, or None."""
        return next((version for version in self.versions() if version.checksum == checksum), None)

    def register(self, source: str, run_id: str, description: str, tags: dict[str, str]) -> Version:
        """Make a logged model the next version, in stage None.

        Args:
            source: the model's URI in MLflow, such as `models:/m-0123`.
            description: Markdown for the version's page.
        """
        try:
            self._call("POST", "registered-models/create", {"name": self.name})
        except _RegistryAnswer as refusal:
            if refusal.code != "RESOURCE_ALREADY_EXISTS":
                raise
        body = {
            "name": self.name,
            "source": source,
            "run_id": run_id,
            "description": description,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        if source.startswith("models:/"):
            body["model_id"] = source.removeprefix("models:/")
        answer = self._call("POST", "model-versions/create", body)
        return _version(answer["model_version"])

    def promote(self, number: int, why: str, stage: str = "Production", force: bool = False) -> Move:
        """Move a version to a stage; whatever was there is archived.

        Raises:
            UserError: there is no such version, or Evaluate refused it and `force` is not set.
        """
        version = self.version(number)
        if version.refused and stage != "Archived" and not force:
            raise UserError(
                f"Version {number} of '{self.name}' was refused: {version.refused}; "
                "promote it all the same with --force --why 'REASON'."
            )
        return self._move(version, stage, why)

    def withdraw_refusal(self, number: int) -> None:
        """Take back that a version was refused: it has been judged anew."""
        body = {"name": self.name, "version": str(number), "key": "refused"}
        self._call("DELETE", "model-versions/delete-tag", body)

    def rollback(self, why: str) -> Move:
        """Put the version that was in Production before the present one back.

        Raises:
            UserError: the promotion log names no former version.
        """
        present = self.resolve("Production")
        known = {version.number: version for version in self.versions()}
        for move in reversed(self.history()):
            if move.stage == "Production" and move.version in known and (not present or move.version != present.number):
                return self._move(known[move.version], "Production", why)
        raise UserError(f"'{self.name}' has no former Production version to go back to; see 'textmill status'.")

    def history(self) -> list[Move]:
        """The promotion log, the oldest entry first."""
        return sorted((move for version in self.versions() for move in _moves(version)), key=lambda move: move.time)

    def _move(self, version: Version, stage: str, why: str) -> Move:
        move = Move(
            version=version.number,
            time=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",  # MLflow takes no plus sign in a name
            who=_who(),
            former=version.stage,
            stage=stage,
            why=why,
            figures={key: value for key, value in version.tags.items() if key in ("bits_per_byte", "reference")},
        )
        replaced = [v for v in self.versions() if v.stage == stage and v.number != version.number]
        archive = stage in ("Staging", "Production")
        of_version = {"name": self.name, "version": str(version.number)}
        # one call archives the former version and promotes this one, in one transaction of MLflow's store
        self._call(
            "POST",
            "model-versions/transition-stage",
            {**of_version, "stage": stage, "archive_existing_versions": archive},
        )
        for former in replaced if archive else []:
            self._tag(former.number, "stage", "Archived")
        self._tag(version.number, "stage", stage)
        if version.stage in ("Staging", "Production", "Archived"):
            self._drop_alias(version.stage.lower(), version.number)
        if stage != "None":
            self._call("POST", "registered-models/alias", {**of_version, "alias": stage.lower()})
        self._tag(version.number, f"{_MOVE}{move.time}", json.dumps(_entry(move), ensure_ascii=False))
        return move

    def _tag(self, number: int, key: str, value: str) -> None:
        body = {"name": self.name, "version": str(number), "key": key, "value": value}
        self._call("POST", "model-versions/set-tag", body)

    def _drop_alias(self, alias: str, number: int) -> None:
        model = self._call("GET", "registered-models/get", {"name": self.name})["registered_model"]
        if {"alias": alias, "version": str(number)} in model.get("aliases", []):
            self._call("DELETE", "registered-models/alias", {"name": self.name, "alias": alias})

    def download(self, version: Version, into: Path) -> Path:
        """The version's bundle in a folder below `into`, fetched unless it is there and whole.

        Raises:
            UserError: a file is damaged, or is not what the version's checksum says.
        """
        target = into / f"{self.name}-{version.number}-{version.checksum[:12]}"
        if not target.exists():
            into.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=into))
            try:
                for path in self._files(version):
                    self._fetch(version, path, partial)
                self._verify(version, partial)
                partial.rename(target)
            except OSError:
                if not target.exists():  # otherwise another process was quicker
                    raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        self._verify(version, target)
        return target

    def _verify(self, version: Version, directory: Path) -> None:
        if bundle.verify(directory) != version.checksum:
            raise UserError(
                f"Version {version.number} of '{self.name}' is not what was registered (its manifest's checksum differs); "
                f"delete {directory} and try again, or roll back."
            )

    def _artifact_root(self, version: Version) -> str:
        parameters = {"name": self.name, "version": str(version.number)}
        uri = str(self._call("GET", "model-versions/get-download-uri", parameters)["artifact_uri"])
        prefix = "mlflow-artifacts:/"
        if not uri.startswith(prefix):
            raise UserError(
                f"Version {version.number} of '{self.name}' is stored at {without_password(uri)}, which its MLflow server does not "
                "pass on; start the server with --serve-artifacts."
            )
        path = uri.removeprefix(prefix).lstrip("/")
        # mlflow-artifacts://host/path names its server; this one is the server we speak to
        return path if not uri.startswith(prefix + "/") else path.partition("/")[2]

    def _files(self, version: Version) -> Iterator[str]:
        root = f"{self._artifact_root(version)}/artifacts/{BUNDLE}"
        folders = [""]
        while folders:
            folder = folders.pop()
            answer = self._call("GET", "mlflow-artifacts/artifacts", {"path": f"{root}/{folder}".rstrip("/")})
            for entry in answer.get("files", []):
                path = f"{folder}/{Path(entry['path']).name}".lstrip("/")
                if entry.get("is_dir"):
                    folders.append(path)
                else:
                    yield path

    def _fetch(self, version: Version, path: str, into: Path) -> None:
        root = f"{self._artifact_root(version)}/artifacts/{BUNDLE}"
        url = f"{self.tracking_uri}/api/2.0/mlflow-artifacts/artifacts/{quote(f'{root}/{path}')}"
        target = into / path
        if not target.resolve().is_relative_to(into.resolve()):
            raise UserError(
                f"Version {version.number} of '{self.name}' names a file outside its folder: {path}; do not use it."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with (
                self._session.get(url, stream=True, timeout=(_ANSWER_WITHIN_S, _SILENCE_S)) as answer,
                target.open("wb") as file,
            ):
                answer.raise_for_status()
                for block in answer.iter_content(1 << 20):
                    file.write(block)
        except requests.RequestException as error:
            problem = f"status {answer.status_code}" if isinstance(error, requests.HTTPError) else type(error).__name__
            raise UserError(
                f"{path} of version {version.number} cannot be fetched from MLflow ({problem}); try again."
            ) from error

    def _call(self, method: str, path: str, values: dict[str, Any]) -> dict[str, Any]:
        prefix = "" if path.startswith("mlflow-artifacts/") else "mlflow/"
        url = f"{self.tracking_uri}/api/2.0/{prefix}{path}"
        body: dict[str, Any] = {"params": values} if method == "GET" else {"json": values}
        try:
            answer = self._session.request(method, url, timeout=_ANSWER_WITHIN_S, **body)
        except requests.RequestException as error:
            raise UserError(
                f"MLflow at {without_password(self.tracking_uri)} does not answer ({type(error).__name__}); "
                "start it with 'textmill up' or set MLFLOW_TRACKING_URI."
            ) from error
        if not answer.ok:
            raise _RegistryAnswer(url, answer)
        try:
            return dict(answer.json())
        except ValueError:
            raise UserError(
                f"What answers at {without_password(self.tracking_uri)} is no MLflow; check MLFLOW_TRACKING_URI."
            ) from None


class _RegistryAnswer(TextmillError):
    """MLflow answered, and said no."""

    def __init__(self, url: str, answer: requests.Response) -> None:
        try:
            said = answer.json()
        except requests.JSONDecodeError:
            said = {}
        self.code: str = said.get("error_code", "")
        message = said.get("message", f"status {answer.status_code}")
        self.exit_code = 2 if answer.status_code in (401, 403) else 1  # a wrong name or password is the user's
        super().__init__(f"MLflow refused {without_password(url)}: {message}")


def _version(entry: dict[str, Any]) -> Version:
    return Version(
        name=entry["name"],
        number=int(entry["version"]),
        stage=entry.get("current_stage", "None"),
        run_id=entry.get("run_id", ""),
        created=datetime.fromtimestamp(int(entry.get("creation_timestamp", 0)) / 1000, UTC),
        tags={tag["key"]: tag["value"] for tag in entry.get("tags", [])},
    )


def _entry(move: Move) -> dict[str, Any]:
    entry = {name: getattr(move, name) for name in ("who", "why", "figures")}
    return {"from": move.former, "to": move.stage, **entry}


def _moves(version: Version) -> Sequence[Move]:
    moves = []
    for key, value in version.tags.items():
        if key.startswith(_MOVE):
            said = json.loads(value)
            time = key.removeprefix(_MOVE)
            moves.append(
                Move(version.number, time, said["who"], said["from"], said["to"], said["why"], said.get("figures", {}))
            )
    return moves


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
