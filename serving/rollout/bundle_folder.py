"""The folder for fetched bundles, which several servers may share: what was served last, and which bundles may go."""

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
    """Note what a target was served by last, and by what before that, for a start without MLflow and for `tidy`."""
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
        _log.warning("The version served cannot be noted (%s).", error)


def remembered(target: Target, models: Path) -> Version | None:
    """What a target was served by last, or None."""
    try:
        values = _noted(_memory(target, models))
        tags = {"checksum": str(values["checksum"])}
        number, stage = int(values["number"]), str(values["stage"])
    except (ValueError, KeyError, TypeError):
        return None
    return Version(target.model, number, stage, "", datetime.fromtimestamp(0, UTC), tags)


def tidy(models: Path, keep: int) -> None:
    """Delete old bundles, but for what any server that shares the folder serves, or would go back to."""
    try:
        notes = [_noted(memory) for memory in models.glob("last-*.json")]
        named = {str(note.get(each, "")) for note in notes for each in ("folder", "former")}
        deleted = prune(models, keep, named)
    except OSError as error:
        _log.warning("Old bundles cannot be deleted (%s).", error)
        return
    if deleted:
        _log.info("Bundles deleted because nobody uses them: %s.", ", ".join(deleted))


def _memory(target: Target, models: Path) -> Path:
    return models / f"last-{target.model}-{target.stage or target.number}.json"


def _noted(memory: Path) -> dict[str, Any]:
    try:
        values = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
