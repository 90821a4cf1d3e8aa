"""The folder of fetched bundles: what was served last, and which bundles to delete. Servers may share it."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.routing.traffic_split import Target
from textmill.ground.files import write_beside
from textmill.registry.bundle_cache import prune
from textmill.registry.model_registry import Version

_log = logging.getLogger(__name__)


def remember(target: Target, version: Version, directory: Path, models: Path) -> None:
    """Record the version that a target serves and the one before, for `tidy` and for a start without MLflow."""
    last = _noted(_memory(target, models))
    folder, former = last.get("folder", ""), last.get("former", "")
    values = {
        "number": version.number,
        "stage": version.stage,
        "checksum": version.checksum,
        "folder": directory.name,
        "former": former if folder == directory.name else folder,
    }
    try:
        write_beside(_memory(target, models), json.dumps(values))
    except OSError as error:  # a full disk must not keep a version that is there from answering
        _log.warning("The served version could not be recorded (%s).", error)


def remembered(target: Target, models: Path) -> Version | None:
    """The version that a target served last, or None."""
    try:
        values = _noted(_memory(target, models))
        tags = {"checksum": str(values["checksum"])}
        number, stage = int(values["number"]), str(values["stage"])
    except (ValueError, KeyError, TypeError):
        return None
    return Version(target.model, number, stage, "", datetime.fromtimestamp(0, UTC), tags)


def tidy(models: Path, keep: int) -> None:
    """Delete old bundles, except those that a server of this folder serves or would roll back to."""
    try:
        notes = [_noted(memory) for memory in models.glob("last-*.json")]
        named = {str(note.get(each, "")) for note in notes for each in ("folder", "former")}
        deleted = prune(models, keep, named)
    except OSError as error:
        _log.warning("Old bundles could not be deleted (%s).", error)
        return
    if deleted:
        _log.info("Deleted unused bundles: %s.", ", ".join(deleted))


def _memory(target: Target, models: Path) -> Path:
    return models / f"last-{target.model}-{target.stage or target.number}.json"


def _noted(memory: Path) -> dict[str, Any]:
    try:
        values = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
