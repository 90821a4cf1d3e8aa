"""Recognise, read and convert a GPT-2 in a directory of any of four forms.

| form | contents of the directory |
|---|---|
| `openai` | OpenAI's TensorFlow checkpoint: `model.ckpt.*`, `hparams.json`, `encoder.json`, `vocab.bpe` |
| `gpt-2-simple` | a run of gpt-2-simple, such as `checkpoint/run1`: the same with `model-STEP.*` |
| `hugging-face` | `config.json`, `model.safetensors` or its shards, and a tokenizer |
| `bundle` | what FineTune writes and MLflow registers |

Pickled weights are refused, because reading them can run any code.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2 import tokenizer
from textmill.gpt2 import weights as tensors
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle, hugging_face, tensorflow_checkpoint
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.weights import Weights
from textmill.ground.errors import UserError
from textmill.ground.files import folder_beside

OPENAI = "openai"
GPT_2_SIMPLE = "gpt-2-simple"
HUGGING_FACE = "hugging-face"
BUNDLE = "bundle"
FORMS = (BUNDLE, HUGGING_FACE, GPT_2_SIMPLE)  # that are written
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_PADDING = 1024  # rows of the embedding that may stand for no token: others round the vocabulary up for speed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A GPT-2 read from a directory."""

    architecture: Architecture
    weights: Weights
    tokenizer: Tokenizer | None  # None where the directory holds none
    form: str

    def with_window(self, window: int) -> "Checkpoint":
        """The same model with only its first `window` positions.

        Raises:
            UserError: the model has fewer positions.
        """
        architecture = with_window(self.architecture, window)
        name = "transformer.wpe.weight"
        return replace(self, architecture=architecture, weights={**self.weights, name: self.weights[name][:window]})


def with_window(architecture: Architecture, window: int) -> Architecture:
    """The architecture with a shorter window. Raises UserError if it has fewer positions."""
    if window > architecture.window:
        raise UserError(
            f"model.window is {window}, but the base has only {architecture.window} positions; "
            f"set it to {architecture.window} or less, or leave it out."
        )
    return replace(architecture, window=window)


@dataclass(frozen=True, slots=True)
class Description:
    """A directory's description, without its weights."""

    directory: Path
    form: str
    architecture: Architecture
    weight_files: tuple[Path, ...]

    def digest(self) -> str:
        """SHA-256 over the names and contents of all relevant files; for a bundle, its checksum."""
        if self.form == BUNDLE:
            return bundle.verify(self.directory)
        names = [tensorflow_checkpoint.HPARAMS, hugging_face.CONFIG, tokenizer.FILE, *sum(tokenizer.PAIRS, ())]
        files = {self.directory / name for name in names if (self.directory / name).is_file()}
        digest = hashlib.sha256()
        for path in sorted(files.union(self.weight_files)):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()


def describe(directory: Path) -> Description:
    """Recognise the form of a directory.

    Raises:
        UserError: it is absent, has pickled weights or none of the forms, or its architecture cannot be read.
    """
    form = _form(directory)
    if form is None:
        raise _unrecognised(directory)
    if form in (BUNDLE, HUGGING_FACE):
        files = hugging_face.weight_files(directory)
        return Description(directory, form, hugging_face.read_architecture(directory), tuple(files))
    architecture = tensorflow_checkpoint.read_architecture(directory)
    prefix = tensorflow_checkpoint.latest(directory)
    index = prefix.with_name(f"{prefix.name}.index")
    form = OPENAI if prefix.name == "model.ckpt" else GPT_2_SIMPLE
    return Description(directory, form, architecture, (index, *tensorflow_checkpoint.data_files(prefix)))


def _form(directory: Path) -> str | None:
    def has(*names: str) -> bool:
        return all((directory / name).is_file() for name in names)

    if has(bundle.MANIFEST):
        return BUNDLE
    if has(hugging_face.CONFIG) and (has(hugging_face.WEIGHTS) or has(hugging_face.INDEX)):
        return HUGGING_FACE
    return GPT_2_SIMPLE if has(tensorflow_checkpoint.HPARAMS) else None


def _unrecognised(directory: Path) -> UserError:
    if not directory.exists():
        return UserError(f"{directory} does not exist; set model.base to an existing folder.")
    if directory.is_file():
        return _pickle(directory) if directory.suffix in _PICKLES else _no_directory(directory)
    inside = sorted(directory.iterdir())
    if pickles := [path for path in inside if path.is_file() and path.suffix in _PICKLES]:
        return _pickle(pickles[0])
    if below := [path for path in inside if path.is_dir() and _form(path)]:
        return UserError(f"{directory} has no model, but its subfolder {below[0].name} has one; name {below[0]}.")
    return UserError(
        f"{directory} has no readable model: no TensorFlow checkpoint with hparams.json, no config.json with "
        "model.safetensors, and no bundle; name the folder with these files."
    )


def _pickle(path: Path) -> UserError:
    return UserError(
        f"{path} is a pickle, which can run any code when read; convert it to model.safetensors with "
        "transformers' save_pretrained on an isolated machine."
    )


def _no_directory(path: Path) -> UserError:
    return UserError(f"{path} is a file; name its folder.")


def read(directory: Path) -> Checkpoint:
    """Read a GPT-2 of any form.

    Raises:
        UserError: as `describe`; or a file is damaged, a tensor is missing, extra, not finite or has another shape (the
        message names it), or the vocabulary does not fit the tokenizer.
    """
    found = describe(directory)
    if found.form == BUNDLE:
        bundle.verify(directory)
    of_tensorflow = found.form in (OPENAI, GPT_2_SIMPLE)
    read_weights = tensorflow_checkpoint.read_weights if of_tensorflow else hugging_face.read_weights
    own = tokenizer.of_directory(directory)
    if own is not None:
        check_vocabulary(own, found.architecture, directory)
    weights = read_weights(directory, found.architecture)
    if broken := tensors.not_finite(weights):
        raise UserError(f"The tensor {broken} in {directory} has NaN or infinite values; use another model.")
    return Checkpoint(found.architecture, weights, own, found.form)


def check_vocabulary(own: Tokenizer, architecture: Architecture, directory: Path) -> None:
    """Raise UserError unless the model has a row for each token and few more."""
    if not own.vocabulary <= architecture.vocabulary < own.vocabulary + _PADDING:
        raise UserError(
            f"The tokenizer in {directory} has {own.vocabulary:,} tokens, but the model {architecture.vocabulary:,}; "
            "replace it with the model's own tokenizer."
        )


def write_hugging_face(
    directory: Path, weights: Mapping[str, NDArray[np.float32]], architecture: Architecture, own: Tokenizer
) -> None:
    """Write model and tokenizer for transformers' `from_pretrained`.

    Raises:
        UserError: `directory` is not empty.
    """
    tensors.check(weights, architecture)
    with _new_directory(directory) as partial:
        hugging_face.write_weights(partial / hugging_face.WEIGHTS, weights)
        _write_json(partial / hugging_face.CONFIG, bundle.hugging_face_config(architecture, own.end))
        own.save(partial / tokenizer.FILE)
        if own.is_gpt2s and (pairs := own.byte_pairs()):
            _write_pairs(partial, tokenizer.PAIRS[0], *pairs)
        _write_json(partial / bundle.TOKENIZER_CONFIG, bundle.tokenizer_config(architecture, own))


def write_gpt_2_simple(
    directory: Path,
    weights: Mapping[str, NDArray[np.float32]],
    architecture: Architecture,
    own: Tokenizer,
    step: int = 0,
) -> None:
    """Write a run directory of gpt-2-simple, for its `load_gpt2` and `generate`.

    Raises:
        UserError: `directory` is not empty, or the tokenizer is not a byte-level BPE.
    """
    tensors.check(weights, architecture)
    pairs = own.byte_pairs()
    if pairs is None:
        raise UserError(
            "gpt-2-simple supports only byte-level BPE, but this model has another tokenizer; "
            "use the form hugging-face instead."
        )
    with _new_directory(directory) as partial:
        tensorflow_checkpoint.write_weights(partial / f"model-{step}", weights, architecture)
        tensorflow_checkpoint.write_hparams(partial, architecture)
        _write_pairs(partial, tokenizer.PAIRS[1], *pairs)
        if own.breaks:  # which those two files do not say; gpt-2-simple passes this one over
            own.save(partial / tokenizer.FILE)
        (partial / "counter").write_text(f"{step}\n", encoding="utf-8")


@contextmanager
def _new_directory(directory: Path) -> Iterator[Path]:
    """Context manager: a temporary folder that is moved into place on success."""
    check_free(directory)
    with folder_beside(directory) as partial:
        yield partial


def check_free(directory: Path) -> None:
    """Raise UserError if the target directory is not empty."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} is not empty; name a new folder.")


def _write_pairs(
    directory: Path, names: tuple[str, str], vocabulary: Mapping[str, int], merges: list[tuple[str, str]]
) -> None:
    # in ASCII: gpt-2-simple reads the vocabulary in the locale's encoding
    (directory / names[0]).write_text(json.dumps(vocabulary), encoding="ascii")
    lines = "".join(f"{first} {second}\n" for first, second in merges)
    (directory / names[1]).write_text(f"#version: 0.2\n{lines}", encoding="utf-8")


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(f"{json.dumps(value, indent=2, sort_keys=True)}\n", encoding="utf-8")
