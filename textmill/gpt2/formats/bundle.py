"""The directory that serving loads, Evaluate judges and MLflow registers: a model with all that belongs to it.

    model.onnx          the graph; its weights are read from model.safetensors, so they are on disk once
    model.safetensors   the weights in Hugging Face's names and layouts
    model.float16.onnx  the graph that casts these weights to float16 when it is loaded, for GPUs
    model.int8.onnx     the graph with matrices of eight bits, which stand in model.int8.safetensors; int4 likewise
    config.json         the architecture, as Hugging Face's GPT2LMHeadModel reads it
    tokenizer.json      the tokenizer, as Hugging Face's `tokenizers` reads it; tokenizer_config.json is transformers'
    generation.json     how texts are written where a request does not say: fields of `sampling.Settings`
    lineage.json        what the model was made from
    README.md           the model card
    verbatim/           an index of the training text's passages and their addresses; bundles of other origin have none
    manifest.json       size and SHA-256 of every other file, and one checksum over them all

Reading a bundle needs neither the `onnx` package nor `safetensors`; only writing does. Equal inputs give equal bytes.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2 import tokenizer as tokenizer_file
from textmill.gpt2 import weights as tensors
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import quantisation
from textmill.gpt2.tokenizer import END, Tokenizer
from textmill.ground.errors import TextmillError, UserError
from textmill.ground.files import folder_beside

if TYPE_CHECKING:
    from textmill.gpt2.formats import onnx_graph

GRAPH = "model.onnx"
WEIGHTS = "model.safetensors"
COPYING = "model.copying.onnx"  # the graph that copies keys and values on a device; comes with float16
CONFIG = "config.json"
TOKENIZER = tokenizer_file.FILE
TOKENIZER_CONFIG = "tokenizer_config.json"  # for transformers alone; older bundles have none
GENERATION = "generation.json"
LINEAGE = "lineage.json"
CARD = "README.md"
VERBATIM = "verbatim"
MANIFEST = "manifest.json"
FILES = (GRAPH, WEIGHTS, CONFIG, TOKENIZER, GENERATION, LINEAGE, CARD)
_FORMAT = 1  # of the manifest


def write_bundle(
    directory: Path,
    weights: Mapping[str, NDArray[np.float32]],
    architecture: Architecture,
    tokenizer: Tokenizer,
    generation: Mapping[str, Any],
    lineage: Mapping[str, Any],
    card: str,
    precisions: Iterable[str] = (),
    verbatim: Path | None = None,
) -> str:
    """Write a bundle beside its place, move it there, and return its checksum.

    Args:
        directory: absent, empty, or a bundle, which is then replaced.
        generation: fields of `sampling.Settings` that shall differ from its own defaults.
        card: the model card, Markdown.
        precisions: graphs to write beside the float32 one: `float16`, `int8`, `int4`. With any of them comes the one
            in float16: it holds no weights of its own, and a GPU runs no other.
        verbatim: the folder that `verbatim_index.build` wrote, which is copied.

    Raises:
        TextmillError: a tensor is missing or of the wrong shape, the tokenizer has more tokens than the model, or
            `directory` holds something else.
    """
    _check(directory, weights, architecture, tokenizer)
    with folder_beside(directory, replace=True) as partial:
        _write_model(partial, weights, architecture, precisions)
        tokenizer.save(partial / TOKENIZER)
        _write_json(partial / CONFIG, hugging_face_config(architecture, tokenizer.end))
        _write_json(partial / TOKENIZER_CONFIG, tokenizer_config(architecture, tokenizer))
        _write_json(partial / GENERATION, generation)
        _write_json(partial / LINEAGE, lineage)
        (partial / CARD).write_text(card, encoding="utf-8")
        if verbatim:
            shutil.copytree(verbatim, partial / VERBATIM)
            (partial / VERBATIM).chmod(0o755)  # its builder's is a temporary directory
        checksum = write_manifest(partial)
        for file in partial.glob("*.safetensors"):
            file.chmod(0o644)  # made for their owner alone
    return checksum


def _check(
    directory: Path, weights: Mapping[str, NDArray[np.float32]], architecture: Architecture, tokenizer: Tokenizer
) -> None:
    tensors.check(weights, architecture)
    if tokenizer.vocabulary > architecture.vocabulary:
        raise TextmillError(
            f"The tokenizer has {tokenizer.vocabulary} tokens, the model only {architecture.vocabulary}."
        )
    if directory.exists() and any(directory.iterdir()) and not (directory / MANIFEST).exists():
        raise TextmillError(f"{directory} holds files that are no bundle; name another directory.")


def _write_model(
    directory: Path,
    weights: Mapping[str, NDArray[np.float32]],
    architecture: Architecture,
    precisions: Iterable[str],
) -> None:
    # imported here: who only reads bundles, such as serving, has neither package
    from safetensors.numpy import save_file

    from textmill.gpt2.formats import onnx_graph

    # in C order, because safetensors writes an array's memory as it lies
    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    save_file(contiguous, directory / WEIGHTS, metadata={"format": "pt"})
    stored = _stored_tensors(directory / WEIGHTS)
    _write_graph(directory / GRAPH, onnx_graph.build(architecture, stored))
    names = onnx_graph.quantised_names(architecture)
    precisions = list(precisions)
    if precisions:
        _write_graph(directory / graph_name("float16"), onnx_graph.build(architecture, stored, "float16"))
        _write_graph(directory / COPYING, onnx_graph.copying())
    for precision in precisions:
        if precision == "float16":
            continue
        file = directory / f"model.{precision}.safetensors"
        save_file(_quantised({name: weights[name] for name in names}, precision), file)
        # the embedding is looked up in float32
        kept = {name: value for name, value in stored.items() if name not in names[1:]}
        built = onnx_graph.build(architecture, kept | _stored_tensors(file), precision)
        _write_graph(directory / graph_name(precision), built)


def graph_name(precision: str) -> str:
    """The file of the graph of a precision."""
    return GRAPH if precision == "float32" else f"model.{precision}.onnx"


def precisions(directory: Path) -> list[str]:
    """The precisions in which a bundle can be run, the one that it is meant to be served in on CPUs last."""
    listed = _manifest(directory)  # another file in the folder is none of its graphs
    return [name for name in ("float32", "float16", *quantisation.PRECISIONS) if graph_name(name) in listed]


def _quantised(matrices: Mapping[str, NDArray[np.float32]], precision: str) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for name, matrix in matrices.items():
        # linear layers are (inputs, outputs) as they stand; the embedding is (outputs, inputs)
        matrix = matrix.T if name == "transformer.wte.weight" else matrix
        found |= {f"{name}.{end}": value for end, value in quantisation.stored(matrix, precision).items()}
    return found


def _write_graph(path: Path, model: Any) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))


def _stored_tensors(path: Path) -> dict[str, "onnx_graph.StoredTensor"]:
    """Where each tensor stands in a safetensors file (huggingface.co/docs/safetensors, "Format")."""
    from textmill.gpt2.formats import onnx_graph

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        kind = onnx_graph.KINDS[entry["dtype"]]
        found[name] = onnx_graph.StoredTensor(tuple(entry["shape"]), 8 + length + start, end - start, path.name, kind)
    return found


def hugging_face_config(architecture: Architecture, end: int) -> dict[str, Any]:
    """The config.json that Hugging Face's GPT2LMHeadModel reads; `end` is the end token's number."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": architecture.vocabulary,
        "n_positions": architecture.window,
        "n_embd": architecture.width,
        "n_layer": architecture.layers,
        "n_head": architecture.heads,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "torch_dtype": "float32",
    }


def tokenizer_config(architecture: Architecture, tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer_config.json with which transformers takes tokenizer.json as it is.

    Its GPT2Tokenizer splits with GPT-2's pattern alone, so only tokenizers that do have that class.
    """
    own = tokenizer.is_gpt2s
    about: dict[str, Any] = {"tokenizer_class": "GPT2Tokenizer" if own else "PreTrainedTokenizerFast"}
    about |= {f"{role}_token": END for role in ("bos", "eos", "unk" if own else "pad")}
    return about | {"model_max_length": architecture.window, "clean_up_tokenization_spaces": False}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def write_manifest(directory: Path) -> str:
    """Write manifest.json over every other file in the directory, and return the checksum."""
    names = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    files = {
        name: {"sha256": _sha256(directory / name), "bytes": (directory / name).stat().st_size}
        for name in names
        if name != MANIFEST
    }
    checksum = _checksum(files)
    _write_json(directory / MANIFEST, {"format": _FORMAT, "files": files, "checksum": checksum})
    return checksum


def verify(directory: Path) -> str:
    """Check every file against the manifest and return the bundle's checksum.

    Raises:
        UserError: the manifest is absent or unreadable, or a file is missing or damaged; the file is named.
    """
    files = _manifest(directory)
    for name, entry in files.items():
        path = directory / name
        if not path.is_file():
            raise _damaged(directory, f"{name} is missing")
        if (size := path.stat().st_size) != entry["bytes"]:
            raise _damaged(directory, f"{name} has {size:,} bytes where the manifest says {entry['bytes']:,}")
        if _sha256(path) != entry["sha256"]:
            raise _damaged(directory, f"{name} has other contents than the manifest says")
    return _checksum(files)


def names(directory: Path) -> list[str]:
    """The files that belong to a bundle, by their paths in it; others may lie beside them.

    Raises:
        UserError: as `verify`.
    """
    return [MANIFEST, *_manifest(directory)]


def _manifest(directory: Path) -> dict[str, dict[str, Any]]:
    path = directory / MANIFEST
    if not path.is_file():
        raise UserError(f"{directory} is no model bundle: it has no {MANIFEST}; name a directory that FineTune wrote.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files = {
            str(name): {"sha256": entry["sha256"], "bytes": entry["bytes"]} for name, entry in manifest["files"].items()
        }
        checksum = manifest["checksum"]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _damaged(directory, f"{MANIFEST} cannot be read") from None
    if absent := [name for name in FILES if name not in files]:
        raise _damaged(directory, f"{MANIFEST} does not name {absent[0]}")
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in files):
        raise _damaged(directory, f"{MANIFEST} names files outside the directory")
    if checksum != _checksum(files):
        raise _damaged(directory, f"{MANIFEST} contradicts its own checksum")
    return files


def _damaged(directory: Path, problem: str) -> UserError:
    return UserError(f"The model bundle at {directory} is damaged: {problem}; delete it and fetch or make it again.")


def _checksum(files: Mapping[str, Mapping[str, Any]]) -> str:
    lines = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_architecture(directory: Path) -> Architecture:
    """The model's shape, from config.json."""
    config = read_json(directory, CONFIG)
    names = ("vocab_size", "n_positions", "n_layer", "n_head", "n_embd")
    return Architecture(*(int(config[name]) for name in names))


def read_json(directory: Path, name: str) -> dict[str, Any]:
    """One of the bundle's JSON files, by its name."""
    return dict(json.loads((directory / name).read_text(encoding="utf-8")))


def read_weights(directory: Path) -> tensors.Weights:
    """The weights, for tools that change or compare them; serving reads the graph instead."""
    from safetensors.numpy import load_file

    return dict(load_file(directory / WEIGHTS))
