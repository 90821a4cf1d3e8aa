"""`textmill download`: write a registered version to a folder, as a bundle or in another form."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textmill.commands.project import DEFAULT, ConfigFile, project_of
from textmill.ground.errors import UserError

if TYPE_CHECKING:
    from textmill.commands.project import Project
    from textmill.registry.model_registry import ModelRegistry, Version


def download(
    to: Annotated[Path, typer.Option(help="Folder to write; it must be absent or empty.")],
    version: Annotated[int | None, typer.Argument(help="Version to write; the one in Production if left out.")] = None,
    form: Annotated[str, typer.Option(help="bundle, hugging-face or gpt-2-simple.")] = "bundle",
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a version to a folder, as a bundle or in a form for other programs."""
    from textmill.console import output

    written = write_version(project_of(config), version, to, form)
    output.done(f"Version {written.number}", f"{to} has it as a {form} directory")


def write_version(project: Project, number: int | None, to: Path, form: str) -> Version:
    """Write a version to a folder; the one in Production if `number` is None.

    Raises:
        UserError: there is no such version or form, or the folder is not empty.
    """
    from textmill.console import output
    from textmill.gpt2.formats import checkpoint
    from textmill.gpt2.formats.checkpoint import BUNDLE, FORMS

    if form not in FORMS:
        raise UserError(f"There is no form '{form}'; choose one of {', '.join(FORMS)}.")
    checkpoint.check_free(to)
    version = _version(project.registry, number)
    with output.waiting(f"Fetching version {version.number}"):
        directory = project.registry.download(version, project.config.data_dir / "models")
        if form == BUNDLE:
            _copy(directory, to)
        else:
            write(directory, to, form)
    return version


def _version(registry: ModelRegistry, number: int | None) -> Version:
    version = registry.resolve("Production") if number is None else registry.version(number)
    if version is None:
        raise UserError(
            f"No version of '{registry.name}' is in stage 'Production'; name one: textmill download VERSION --to FOLDER."
        )
    return version


def _copy(directory: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as folder:
        shutil.copytree(directory, Path(folder) / to.name).replace(to)


def write(directory: Path, to: Path, form: str) -> None:
    """Write a bundle in another form."""
    from textmill.gpt2.formats import bundle, checkpoint
    from textmill.gpt2.formats.checkpoint import HUGGING_FACE

    read = checkpoint.read(directory)
    assert read.tokenizer is not None  # every bundle has one
    if form == HUGGING_FACE:
        checkpoint.write_hugging_face(to, read.weights, read.architecture, read.tokenizer)
    else:
        step = bundle.read_json(directory, bundle.LINEAGE).get("trained", {}).get("best_step", 0)
        checkpoint.write_gpt_2_simple(to, read.weights, read.architecture, read.tokenizer, int(step))
