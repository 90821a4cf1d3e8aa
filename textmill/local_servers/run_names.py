"""Name TensorBoard's runs after their start (UTC), version and shape, such as `2026-11-28 07.56 v1 4x128`.

TensorBoard names a run after its folder, and TFX numbers the folders. So TensorBoard reads a folder of links with better
names. A training that was resumed has a folder per part. Only the last one is linked: it repeats the points before.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from textmill.ground.files import write_beside

_ABOUT = "run.json"  # in the folder of a training's logs
_VERSION = "version"  # beside it, once the model is registered


@dataclass(frozen=True, slots=True)
class _Part:
    """One folder of logs: a training, or one part of it."""

    folder: Path
    training: str  # the same for all parts
    started: datetime
    shape: str

    @classmethod
    def of(cls, folder: Path) -> "_Part":
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            return cls(folder, about["training"], datetime.fromisoformat(about["started"]), about["shape"])
        except (OSError, ValueError, KeyError):  # of an older release, or not written yet
            return cls(folder, str(folder), datetime.fromtimestamp(folder.stat().st_mtime, UTC), "")

    @property
    def version(self) -> str:
        try:
            return f"v{int((self.folder / _VERSION).read_text(encoding='utf-8'))}"
        except (OSError, ValueError):
            return ""


def describe(folder: Path, training: str, layers: int, width: int) -> None:
    """Describe the training in the folder of its logs.

    Args:
        training: identifies the training; the same when it resumes.
    """
    about = {"training": training, "started": datetime.now(UTC).isoformat(), "shape": f"{layers}x{width}"}
    write_beside(folder / _ABOUT, json.dumps(about))


def registered(folder: Path, version: int) -> None:
    """Note the version that the training's model became; nothing if the folder is read-only."""
    with suppress(OSError):
        write_beside(folder / _VERSION, str(version))


def refresh(logs: Path, names: Path) -> None:
    """Make `names` a folder of named links to the trainings below `logs`."""
    wanted = dict(_named(logs))
    names.mkdir(parents=True, exist_ok=True)
    for link in names.iterdir():
        if link.is_symlink() and link.readlink() != wanted.get(link.name):
            link.unlink()
    for name, folder in wanted.items():
        if not (names / name).is_symlink():
            (names / name).symlink_to(folder, target_is_directory=True)


def _named(logs: Path) -> Iterator[tuple[str, Path]]:
    trainings: dict[str, list[_Part]] = {}
    folders = [folder for folder in logs.iterdir() if folder.is_dir()] if logs.is_dir() else []
    for part in sorted(map(_Part.of, folders), key=lambda part: part.started):
        trainings.setdefault(part.training, []).append(part)
    taken: set[str] = set()
    for parts in trainings.values():
        last = parts[-1]
        name = " ".join(filter(None, (f"{parts[0].started:%Y-%m-%d %H.%M}", last.version, last.shape)))
        if name in taken:
            name = f"{name} ({last.folder.name})"
        taken.add(name)
        yield name, last.folder.absolute()
