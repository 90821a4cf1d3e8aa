"""Read and write TensorFlow 1 checkpoints: OpenAI's GPT-2 and gpt-2-simple's runs.

    checkpoint          names the latest step
    model-500.index     and model-500.data-00000-of-00001: the tensors (OpenAI: model.ckpt.*)
    hparams.json        the architecture
    encoder.json        and vocab.bpe: the tokenizer

Reading uses TensorFlow's C++ reader; writing uses a separate graph and session on the CPU. Neither affects other uses of
TensorFlow in the process.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import tensor_shapes
from textmill.gpt2.weights import Weights, shapes
from textmill.ground.errors import UserError

STATE = "checkpoint"
HPARAMS = "hparams.json"
_FIELDS = ("n_vocab", "n_ctx", "n_layer", "n_head", "n_embd")  # in the order of Architecture's
# what an optimiser leaves beside the model where all variables were saved
_OPTIMISER = re.compile(r"(/Adam(_1)?|^beta[12]_power(_1)?|^global_step)$")


def read_architecture(directory: Path) -> Architecture:
    """Read the architecture from hparams.json.

    Raises:
        UserError: the file cannot be read or lacks a field.
    """
    path = directory / HPARAMS
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Architecture(*(int(said[name]) for name in _FIELDS))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} does not describe a GPT-2 ({type(error).__name__}: {error}); it needs {', '.join(_FIELDS)}."
        ) from None


def latest(directory: Path) -> Path:
    """The prefix of the latest step's files: as named in the file `checkpoint`, else the highest step.

    Raises:
        UserError: there is no checkpoint.
    """
    state = directory / STATE
    said = state.read_text(encoding="utf-8", errors="replace") if state.is_file() else ""
    if named := re.search(r'^model_checkpoint_path: "(.*)"', said, re.MULTILINE):
        # the path may be another machine's: the files lie here
        name = re.split(r"[\\/]+", named[1])[-1]
    else:
        steps = sorted(directory.glob("*.index"), key=lambda path: (_step(path), path.name))
        name = steps[-1].stem if steps else "model"
    if not (directory / f"{name}.index").is_file() or not data_files(directory / name):
        raise UserError(
            f"{directory} has no checkpoint yet: {name}.index or its data file is missing; "
            "name a run with a saved step."
        )
    return directory / name


def _step(path: Path) -> int:
    found = re.search(r"-(\d+)$", path.stem)
    return int(found[1]) if found else 0


def data_files(prefix: Path) -> list[Path]:
    """The data files next to the index."""
    return sorted(path for path in prefix.parent.glob("*.data-*-of-*") if path.name.startswith(f"{prefix.name}.data-"))


def read_weights(directory: Path, architecture: Architecture) -> Weights:
    """The weights of the latest step.

    Raises:
        UserError: a file is damaged, or a tensor is missing, extra or has another shape. The message names it.
    """
    import tensorflow as tf

    prefix = latest(directory)
    names = _names(architecture)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        found = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        model = {name: shape for name, shape in found.items() if not _OPTIMISER.search(name)}
        tensor_shapes.check(model, {name: shape for name, (_, shape) in names.items()}, directory, HPARAMS)
        expected = shapes(architecture)
        return {
            own: np.asarray(reader.get_tensor(name), np.float32).reshape(expected[own])
            for name, (own, _) in names.items()
        }
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise UserError(f"{prefix}.* is truncated or damaged ({said}); fetch or create it again.") from error


def write_weights(prefix: Path, weights: Mapping[str, NDArray[np.float32]], architecture: Architecture) -> None:
    """Write `prefix.index` and its data file, and set them as latest in `checkpoint`."""
    import tensorflow as tf

    names = _names(architecture)
    with tf.Graph().as_default():
        # in the order of their names, as TensorFlow's Saver writes them: the files are then the same
        values = {name: tf.compat.v1.placeholder(tf.float32, shape) for name, (_, shape) in sorted(names.items())}
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(values),
            shape_and_slices=[""] * len(values),
            tensors=list(values.values()),
        )
        fed = {values[name]: weights[own].reshape(shape) for name, (own, shape) in names.items()}
        with tf.compat.v1.Session(config=tf.compat.v1.ConfigProto(device_count={"GPU": 0})) as session:
            session.run(save, fed)
    lines = [f'{key}: "{prefix.name}"\n' for key in ("model_checkpoint_path", "all_model_checkpoint_paths")]
    (prefix.parent / STATE).write_text("".join(lines), encoding="utf-8")


def write_hparams(directory: Path, architecture: Architecture) -> None:
    """Write hparams.json."""
    values = (
        architecture.vocabulary,
        architecture.window,
        architecture.layers,
        architecture.heads,
        architecture.width,
    )
    text = json.dumps(dict(zip(_FIELDS, values, strict=True)))
    (directory / HPARAMS).write_text(f"{text}\n", encoding="utf-8")


def _names(architecture: Architecture) -> dict[str, tuple[str, tensor_shapes.Shape]]:
    """OpenAI's name of each tensor -> our name and OpenAI's shape. Linear layers are convolutions of width 1."""
    named: dict[str, tuple[str, tensor_shapes.Shape]] = {}
    for own, shape in shapes(architecture).items():
        *path, kind = own.removeprefix("transformer.").split(".")
        place = re.sub(r"\bh/(\d+)", r"h\1", "/".join(path))
        if path[-1] in ("wte", "wpe"):
            named[f"model/{place}"] = own, shape
        elif kind == "bias":
            named[f"model/{place}/b"] = own, shape
        elif path[-1].startswith("ln_"):
            named[f"model/{place}/g"] = own, shape
        else:
            named[f"model/{place}/w"] = own, (1, *shape)
    return named
