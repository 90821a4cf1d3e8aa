"""Read and write Hugging Face's GPT-2 directories: config.json and safetensors.

The weights are in one file or in shards. Tensors may have the prefix `transformer.`, and may be float32, float16 or
bfloat16 (read as float32). The output matrix `lm_head.weight` is accepted if it equals the token embedding. Causal masks
from older versions of transformers (`h.0.attn.bias`) are ignored.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import tensor_shapes
from textmill.gpt2.weights import Weights, shapes
from textmill.ground.errors import UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_FIELDS = ("vocab_size", "n_positions", "n_layer", "n_head", "n_embd")  # in the order of Architecture's
# variants of GPT-2 that transformers can compute and we do not; the values that mean GPT-2 itself, the default first
_MUST_BE: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
_MASKS = re.compile(r"^(transformer\.)?h\.\d+\.attn\.(masked_)?bias$")
_OUTPUT = "lm_head.weight"
_EMBEDDING = "transformer.wte.weight"
_KINDS = {"F32", "F16", "BF16"}


def read_architecture(directory: Path) -> Architecture:
    """Read the architecture from config.json.

    Raises:
        UserError: the file cannot be read, or does not describe a GPT-2.
    """
    path = directory / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        architecture = Architecture(*(int(config[name]) for name in _FIELDS))
        inner = config.get("n_inner") or 4 * architecture.width
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} does not describe a GPT-2 ({type(error).__name__}: {error}); it needs {', '.join(_FIELDS)}."
        ) from None
    given = [(name, config.get(name, values[0]), values) for name, values in _MUST_BE.items()]
    for name, value, values in [*given, ("n_inner", inner, (4 * architecture.width,))]:
        if value not in values:
            raise UserError(
                f"{path} does not describe a standard GPT-2: {name} is {value!r}, not {values[0]!r}; "
                "choose another base."
            )
    return architecture


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files: one, or several shards.

    Raises:
        UserError: the index cannot be read, or lists a missing file.
    """
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    path = directory / INDEX
    try:
        names = sorted({str(name) for name in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}: {error}); fetch it again.") from None
    for name in names:
        if Path(name).name != name or not (directory / name).is_file():
            raise UserError(f"{directory} has no {name}, but {INDEX} lists it; fetch it again.")
    return [directory / name for name in names]


def read_weights(directory: Path, architecture: Architecture) -> Weights:
    """The weights, converted to float32.

    Raises:
        UserError: a file is damaged, or a tensor is missing, extra, of another shape, or not a float of at most 32
        bits. The message names it.
    """
    files: dict[str, tuple[Path, tensor_shapes.Shape]] = {}  # where each tensor lies, by its name in the file
    for path in weight_files(directory):
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                part = file.get_slice(name)
                if _MASKS.match(name):
                    continue
                if part.get_dtype() not in _KINDS:
                    raise UserError(f"The tensor {name} in {path} is {part.get_dtype()}; save the model as float32.")
                files[name] = path, tuple(part.get_shape())
    prefix = "transformer." if any(name.startswith("transformer.") for name in files) else ""
    names = {own.removeprefix("transformer.") if not prefix else own: own for own in shapes(architecture)}
    expected = {name: shapes(architecture)[own] for name, own in names.items()}
    found = {name: shape for name, (_, shape) in files.items() if name != _OUTPUT}
    tensor_shapes.check(found, expected, directory, CONFIG)
    weights = {names[name]: value for name, value in _tensors(files) if name != _OUTPUT}
    _check_output(directory, files, weights[_EMBEDDING])
    return {own: weights[own] for own in shapes(architecture)}


def _check_output(
    directory: Path, files: Mapping[str, tuple[Path, tensor_shapes.Shape]], embedding: NDArray[np.float32]
) -> None:
    """GPT-2's output matrix is the token embedding: a stored one must be equal to it."""
    if _OUTPUT in files:
        ((_, output),) = _tensors({_OUTPUT: files[_OUTPUT]})
        if not np.array_equal(output, embedding, equal_nan=True):  # NaN is named later
            raise UserError(
                f"The tensor {_OUTPUT} in {files[_OUTPUT][0]} differs from the token embedding, unlike GPT-2's; "
                f"choose another base than {directory}."
            )


def _tensors(files: Mapping[str, tuple[Path, tensor_shapes.Shape]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for path in sorted({path for path, _ in files.values()}):
        with _opened(path) as file:
            for name in (name for name, (where, _) in files.items() if where == path):
                yield name, np.ascontiguousarray(file.get_tensor(name), np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import ml_dtypes  # noqa: F401 - teaches numpy bfloat16, which safetensors asks it for
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            yield file
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or damaged ({error}); fetch or create it again.") from error


def write_weights(path: Path, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a safetensors file for transformers. Equal weights give equal bytes."""
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    save_file(contiguous, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it its owner's alone
