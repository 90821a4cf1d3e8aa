"""Resolve `model.base`: find, download and check the base once when a run starts.

| value | meaning |
|---|---|
| `scratch` | random weights |
| `starter` | a small English model in the package; no download |
| `124M` `355M` `774M` `1558M` (and `117M` `345M`) | OpenAI's, downloaded once into `data_dir/bases` |
| a folder | any form that `textmill.gpt2.formats.checkpoint` reads |
| `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION` | a repository at Hugging Face, fetched once into `data_dir/bases` |
| `version:7`, `stage:Production` | a version of this model in MLflow |
"""

from dataclasses import replace
from pathlib import Path

from textmill.gpt2 import tokenizer
from textmill.gpt2.architecture import OLD_NAMES, SIZES, Architecture
from textmill.gpt2.formats import checkpoint
from textmill.ground.errors import UserError
from textmill.registry.model_registry import ModelRegistry, Version
from textmill.settings.config import Config
from textmill.settings.model import STARTER, Model
from textmill.training.bases import downloads
from textmill.training.bases.base import SCRATCH, Base

STARTER_FOLDER = Path(__file__).parent / "starter"
_HEAD = 8  # serving wants the width of a head to be a multiple of it


def resolve(config: Config, registry: ModelRegistry) -> Base:
    """Resolve the configured base: find or download it, and check that it can be used.

    Raises:
        UserError: it cannot be found, downloaded or read, or does not fit the settings.
    """
    name = config.model.base
    if name == SCRATCH.name:
        return SCRATCH
    folder = config.data_dir / "bases"
    if name == STARTER:
        base = _described(name, STARTER_FOLDER)
    elif name in SIZES or name in OLD_NAMES:
        base = _described(name, downloads.openai(OLD_NAMES.get(name, name), folder))
    elif name.startswith("hf:"):
        directory = downloads.from_hugging_face(name.removeprefix("hf:"), folder)
        commit = (directory / downloads.REVISION).read_text(encoding="utf-8").strip()
        base = _described(f"{name.partition('@')[0]}@{commit}", directory)
    elif config.model.base_is_folder:
        base = _described("/".join(Path(name).parts[-2:]), Path(name))
    else:
        version = _version(name, registry)
        directory = registry.download(version, config.data_dir / "models")
        base = replace(_described(f"version:{version.number}", directory), version=version.number)
    shape(config.model, base)
    return replace(base, digest=checkpoint.describe(Path(base.directory)).digest())


def check_folder(config: Config) -> None:
    """Raise UserError if the base is an unusable folder. Commands call it before slow work."""
    if config.model.base_is_folder:
        shape(config.model, _described(config.model.base, Path(config.model.base)))


def _described(name: str, directory: Path) -> Base:
    """The base in a directory, without its digest."""
    found = checkpoint.describe(directory)
    own = tokenizer.of_directory(directory)
    if own is None:
        raise UserError(
            f"The base at {directory} has no tokenizer; add its tokenizer.json, or vocab.json and merges.txt."
        )
    checkpoint.check_vocabulary(own, found.architecture, directory)
    return Base(name, found.form, directory=str(directory), architecture=found.architecture)


def _version(name: str, registry: ModelRegistry) -> Version:
    kind, _, which = name.partition(":")
    found = registry.version(int(which)) if kind == "version" else registry.resolve(which)
    if found is None:
        raise UserError(
            f"model.base is {name}, but no version of '{registry.name}' is in stage '{which}'; "
            "promote one with 'textmill promote VERSION', or set another base."
        )
    return found


def shape(model: Model, base: Base) -> Model:
    """The model's settings, completed with the base's sizes.

    Raises:
        UserError: a set size differs from the base's, or the window exceeds its positions.
    """
    found = base.architecture
    if found is None:
        return model
    _check_sizes(model, found)
    if found.width % (_HEAD * found.heads):
        raise UserError(
            f"The base's {found.heads} heads are {found.width / found.heads:g} wide, but serving needs a multiple "
            f"of {_HEAD}; choose another base."
        )
    window = model.window if "window" in model.model_fields_set else found.window
    checkpoint.with_window(found, window)
    sizes = (found.layers, found.heads, found.width)
    name = next((name for name, size in SIZES.items() if size == sizes), "custom")
    given = {"base": base.name, "size": name, "window": window}
    return Model.model_validate(given | dict(zip(("layers", "heads", "width"), sizes, strict=True)))


def _check_sizes(model: Model, found: Architecture) -> None:
    """With a base, sizes may be omitted; those that are set must equal the base's."""
    wanted = {name: getattr(model, name) for name in ("layers", "heads", "width") if name in model.model_fields_set}
    if model.size != "custom":
        sizes = SIZES[OLD_NAMES.get(model.size, model.size)]
        wanted = dict(zip(("layers", "heads", "width"), sizes, strict=True))
    for name, value in wanted.items():
        if value != getattr(found, name):
            setting = f"model.{name}" if model.size == "custom" else f"model.size {model.size} (its {name})"
            raise UserError(
                f"{setting} is {value}, but the base has {getattr(found, name)}; a base sets the sizes, so remove "
                "the setting."
            )
