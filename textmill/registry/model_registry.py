"""The model registry: versions, their stages and moves between stages.

MLflow stores it. The stages are MLflow's (None, Staging, Production, Archived), deprecated but still served; only
`_transition` moves them. MLflow moves a stage without its alias and without a lock, so every move here ends with
`settle`: it corrects stage, alias, tag and log until they agree and at most one version is in Staging and one in
Production. All processes use the same rule, so concurrent moves end in the same state.

A version gets its stage first, then `settle` archives those that were there. In between, and after a kill, the version that
was moved last counts (`Standing.in_stage`).
"""

import random
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from textmill.ground.environment import without_password
from textmill.ground.errors import TextmillError, UserError
from textmill.registry import bundle_download, promotion_log
from textmill.registry.bundle_cache import Hold
from textmill.registry.bundle_download import BUNDLE
from textmill.registry.corrections import Correction, aliases_moved, corrections
from textmill.registry.mlflow_client import MlflowRefusal, MlflowServer
from textmill.registry.promotion_log import Move
from textmill.registry.versions import ALIASED, HELD_BY_ONE, OPEN_TO_DOUBT, STAGES, Standing, Version

__all__ = ["BUNDLE", "STAGES", "ModelRegistry", "Move", "Version"]

_ROUNDS = 30  # of settling, at most; two are enough where nobody else moves anything
_REASON = 5000  # characters, at most
_DESCRIPTION = """\
A GPT-2 that Textmill trains on the articles of web sites, to write in their voice. A version's page begins with its
verdict; its tags name what speaks against it.

- **Promote** version 7 by `textmill promote 7 --why "..."`, or on its page: the alias `production` in the newer page,
  *Stage* in the older one. The button *Promote model* copies a version to another model and promotes nothing here.
- **Go back** by `textmill rollback --why "..."`.
- Every move is in the version's promotion log: `textmill history`.
"""  # of a new registered model; what a reviewer writes over it stays


class ModelRegistry:
    """The versions of one registered model at one MLflow server."""

    def __init__(self, tracking_uri: str, name: str, within_s: float | None = None) -> None:
        """Nothing is asked yet; `within_s` is how long an answer is waited for, a minute if left out."""
        self.name = name
        self._server = MlflowServer(tracking_uri, within_s)
        self.tracking_uri = self._server.uri
        self._held: Hold | None = None
        self._known = False  # whether MLflow is known to have the registered model

    @property
    def server(self) -> MlflowServer:
        """The MLflow server."""
        return self._server

    def check(self) -> None:
        """Raise UserError unless the server answers and takes the login."""
        self._server.call("GET", "experiments/get-by-name", {"experiment_name": "Default"})

    def identity(self) -> str:
        """Identify this registry among others at the same address, by its default experiment's creation time.

        A cached Register step is valid only for the registry it wrote to.
        """
        answer = self._server.call("GET", "experiments/get", {"experiment_id": "0"})
        return f"{without_password(self.tracking_uri)}#{answer['experiment'].get('creation_time', 0)}"

    def page(self, number: int) -> str:
        """The address of a version's page in MLflow."""
        return f"{without_password(self.tracking_uri)}/#/models/{self.name}/versions/{number}"

    def versions(self) -> list[Version]:
        """All versions, newest first; none if the model is not registered yet."""
        found: list[Version] = []
        parameters = {"filter": f"name='{self.name}'", "max_results": "1000"}
        while True:
            answer = self._server.call("GET", "model-versions/search", parameters)
            found += [Version.of(entry) for entry in answer.get("model_versions", [])]
            self._known = bool(found)
            if not answer.get("next_page_token"):
                return sorted(found, key=lambda version: -version.number)
            parameters["page_token"] = answer["next_page_token"]

    def version(self, number: int) -> Version:
        """The version with this number; UserError if there is none."""
        for version in self.versions():
            if version.number == number:
                return version
        raise UserError(f"'{self.name}' has no version {number}; 'textmill status' lists its versions.")

    def resolve(self, stage: str) -> Version | None:
        """The version now in this stage, or None; of several, the one that `settle` will keep there."""
        return Standing(self.versions(), {}).holder(stage)

    def with_checksum(self, checksum: str) -> Version | None:
        """The version that holds exactly this bundle, or None."""
        return next((version for version in self.versions() if version.checksum == checksum), None)

    def standing(self) -> Standing:
        """The versions and the aliases as MLflow has them now."""
        try:
            model = self._server.call("GET", "registered-models/get", {"name": self.name})["registered_model"]
        except MlflowRefusal as refusal:
            if refusal.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return Standing([], {})
        names = {stage.lower() for stage in ALIASED}
        aliases = {entry["alias"]: int(entry["version"]) for entry in model.get("aliases", [])}
        return Standing(self.versions(), {alias: aliases[alias] for alias in names & aliases.keys()})

    def history(self) -> list[Move]:
        """The promotion log, oldest entry first."""
        return Standing(self.versions(), {}).log

    def hold(self, version: Version, into: Path) -> Hold:
        """Hold the version's bundle in a folder below `into`, downloaded if missing, until it is released.

        Raises:
            UserError: a file is damaged, or the checksum is not the version's.
        """
        return bundle_download.hold(self._server, version, into)

    def download(self, version: Version, into: Path) -> Path:
        """As `hold`, until the process ends or this registry downloads another version.

        Raises:
            UserError: as `hold`.
        """
        former, self._held = self._held, self.hold(version, into)
        if former:
            former.release()
        return self._held.directory

    def register(self, source: str, run_id: str, description: str, tags: dict[str, str]) -> Version:
        """Make a logged model the next version, in stage None.

        Args:
            source: the model's URI in MLflow, such as `models:/m-0123`.
            description: Markdown for the version's page.
        """
        body = {
            "name": self.name,
            "source": source,
            "run_id": run_id,
            "description": description,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        if source.startswith("models:/"):
            body["model_id"] = source.removeprefix("models:/")
        if not self._known:
            self._make_known()
        answer = self._server.call("POST", "model-versions/create", body)
        return Version.of(answer["model_version"])

    def _make_known(self) -> None:
        """Make the registered model unless it is there."""
        try:
            self._server.call("POST", "registered-models/create", {"name": self.name, "description": _DESCRIPTION})
        except MlflowRefusal as refusal:
            if refusal.code != "RESOURCE_ALREADY_EXISTS":
                raise

    def note_verdict(self, version: Version, tags: Mapping[str, str]) -> None:
        """Tag an evaluated version with the reasons against it: `refused`, `undecided`, or no tag if it passed."""
        for key in set(OPEN_TO_DOUBT) & version.tags.keys() - tags.keys():
            body = {"name": self.name, "version": str(version.number), "key": key}
            self._server.call("DELETE", "model-versions/delete-tag", body)
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self._tag(version.number, key, value)

    def promote(self, number: int, why: str, stage: str = "Production", force: bool = False) -> Move:
        """Move a version to a stage; a version already in Staging or Production is archived.

        Raises:
            UserError: there is no such version, or Evaluate refused it and `force` is not set, or left it undecided and
                no reason is given.
        """
        version = self.version(number)
        if version.refused and stage in HELD_BY_ONE and not force:
            raise UserError(
                f"Version {number} of '{self.name}' was refused: {version.refused}; "
                "to promote it anyway, add --force --why 'REASON'."
            )
        if version.undecided and stage in HELD_BY_ONE and not why:
            raise UserError(
                f"Version {number} of '{self.name}' is undecided: {version.undecided}; "
                "promote it with a reason: --why 'REASON'."
            )
        return self.move(version, moved(version, version.stage, stage, why or "promoted by hand"))

    def archive(self, number: int, why: str) -> Move:
        """Archive a version without a replacement."""
        return self.promote(number, why, "Archived")

    def rollback(self, why: str) -> Move:
        """Restore the previous Production version and archive the current one; repeat to go further back.

        A version that a rollback removed is not restored.

        Raises:
            UserError: there is no previous Production version.
        """
        standing = self.standing()
        present = standing.holder("Production")
        former = self.former_production(standing)
        if former is None:
            now = f"version {present.number} is the first" if present else "Production was never used"
            raise UserError(
                f"'{self.name}' has no former Production version to go back to: {now}; see 'textmill history'."
            )
        entry = moved(former, former.stage, "Production", why)
        return self.move(former, replace(entry, undoes=present.number if present else 0))

    def former_production(self, standing: Standing | None = None) -> Version | None:
        """The version that a rollback would restore now, or None."""
        standing = standing or self.standing()
        present = standing.holder("Production")
        stack = promotion_log.productions(standing.log)
        if present and present.number in stack:
            while stack.pop() != present.number:
                pass
        known = (standing.version(number) for number in reversed(stack) if not present or number != present.number)
        return next((version for version in known if version), None)

    def move(self, version: Version, move: Move, when: datetime | None = None) -> Move:
        """Move a version to a stage, even a refused one; log the move and settle.

        The log entry is written last: if the process dies before, the reconciler finds the moved stage. An observed
        move already names the entry it follows.
        """
        if len(move.why) > _REASON:
            raise UserError(f"The reason has {len(move.why)} characters; shorten it to {_REASON}.")
        if not move.observed:
            move = promotion_log.following(move, promotion_log.read({version.number: version.tags}))
        if not (move.observed and version.stage == move.stage):
            self._transition(version.number, move.stage)
        if version.tags.get("stage", "None") != move.stage:
            self._tag(version.number, "stage", move.stage)
        if move.former in ALIASED and move.former != move.stage:
            self._drop_alias(move.former.lower(), version.number)
        if move.stage in ALIASED:
            self._set_alias(move.stage.lower(), version.number)
        move = self._record(move, self.history(), when)
        self.settle({move.former, move.stage, "Archived"}, move.stage, version.number)
        return move

    def _record(self, move: Move, log: list[Move], when: datetime | None = None) -> Move:
        """Add an entry to the log, and return it as it is written; `when` it happened is now if left out."""
        move = promotion_log.dated(move, log, when)
        self._tag(move.version, move.key, promotion_log.written(move))
        return move

    def settle(self, stages: set[str] | None = None, commanded: str = "", moved: int = 0) -> None:
        """Make stage, alias, tag and log agree for the versions in these stages, or in all.

        An alias moved on MLflow's page is left to the reconciler, except that of the stage `commanded`: the current
        move to it, of the version `moved`, is newer.
        """
        written: set[tuple[str, int]] = set()  # aliases that this call has set, so that they are nobody else's move
        for attempt in range(_ROUNDS):
            standing = self.standing()
            left = {
                alias
                for alias, number in aliases_moved(standing).items()
                if alias != commanded.lower() and (alias, number) not in written
            }
            found = corrections(standing, stages or set(STAGES), left, commanded, moved)
            if not found:
                return
            if attempt > 1:  # somebody else is settling too
                time.sleep(random.uniform(0, 0.1))
            written |= {(correction.value, correction.number) for correction in found if correction.what == "alias"}
            for correction in found:
                self._correct(standing, correction)
        raise TextmillError(
            f"The stages of '{self.name}' keep changing, as something else moves them; find it with 'textmill history'."
        )

    def _correct(self, standing: Standing, correction: Correction) -> None:
        if correction.what == "stage":
            self._transition(correction.number, correction.value)
        elif correction.what == "tag":
            self._tag(correction.number, "stage", correction.value)
        elif correction.what == "log":
            version = standing.version(correction.number)
            assert version
            move = moved(
                version,
                standing.logged(version.number),
                correction.value,
                correction.why,
                correction.who,
                observed=True,
            )
            self._record(promotion_log.following(move, standing.log), standing.log)
        elif correction.number:
            self._set_alias(correction.value, correction.number)
        else:
            self._drop_alias(correction.value, standing.aliases[correction.value])

    def _transition(self, number: int, stage: str) -> None:
        """Move the stage of this version alone.

        MLflow would archive the others in the same call with `archive_existing_versions`, but not on PostgreSQL with
        psycopg 3 (mlflow#24592).
        """
        body = {"name": self.name, "version": str(number), "stage": stage, "archive_existing_versions": False}
        try:
            self._server.call("POST", "model-versions/transition-stage", body)
        except MlflowRefusal as refusal:
            if refusal.status not in (404, 405, 501) or refusal.code == "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(
                f"The MLflow server at {self._server.shown} no longer has stages (no 'transition-stage' call); "
                "run the release in Textmill's requirements.lock."
            ) from refusal

    def _tag(self, number: int, key: str, value: str) -> None:
        body = {"name": self.name, "version": str(number), "key": key, "value": value}
        self._server.call("POST", "model-versions/set-tag", body)

    def _set_alias(self, alias: str, number: int) -> None:
        body = {"name": self.name, "version": str(number), "alias": alias}
        self._server.call("POST", "registered-models/alias", body)

    def _drop_alias(self, alias: str, number: int) -> None:
        if self.standing().aliases.get(alias) == number:
            self._server.call("DELETE", "registered-models/alias", {"name": self.name, "alias": alias})


def moved(version: Version, former: str, stage: str, why: str, who: str = "", observed: bool = False) -> Move:
    """A log entry for a version's move, not dated yet."""
    return Move(
        version=version.number,
        time="",
        who=who or promotion_log.user(),
        former=former,
        stage=stage,
        why=why,
        figures=promotion_log.figures_of(version.tags),
        refused=version.refused or "",
        undecided=version.undecided or "",
        observed=observed,
    )
