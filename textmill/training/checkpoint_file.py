"""A training checkpoint: weights, optimiser state and step in one safetensors file.

The header's metadata has the other values as JSON, and a CRC-32C of the tensors' bytes. Files are written under a
temporary name and renamed, so that a crash or a full disk leaves the previous checkpoint intact.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from textmill.ground.errors import UserError

Arrays = dict[str, NDArray[Any]]
_BLOCK = 1 << 20  # bytes
PARTIAL = ".partial"  # how the name of a file ends that is being written


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors and named values."""

    tensors: Arrays
    values: dict[str, Any]  # of JSON's types


def save(path: Path, tensors: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
    """Replace the checkpoint. Only one process at a time may write to a path.

    Raises:
        UserError: it cannot be written. The previous one stays.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    # in C order, because safetensors writes an array's memory as it lies
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    metadata = {"values": json.dumps(values), "crc32c": _checksum(contiguous)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(contiguous, partial, metadata=metadata)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"The checkpoint {path} cannot be written ({error}); free disk space and run again.") from error
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path, values_only: bool = False) -> Checkpoint:
    """Read a checkpoint, or only its values.

    Raises:
        UserError: the file is absent or damaged.
    """
    try:
        with safe_open(path, "np") as file:
            names = [] if values_only else file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata()
        if not values_only and metadata["crc32c"] != _checksum(tensors):
            raise ValueError("checksum mismatch")
        return Checkpoint(tensors, json.loads(metadata["values"]))
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"The checkpoint {path} cannot be read ({error}); delete its folder to train from the start."
        ) from error


def _checksum(tensors: Mapping[str, NDArray[Any]]) -> str:
    """CRC-32C over all tensors' bytes in name order, 8 hex digits."""
    crc = 0
    for name in sorted(tensors):
        data = tensors[name].reshape(-1).view(np.uint8).data
        for start in range(0, len(data), _BLOCK):  # it takes nothing but bytes, and a copy of a whole tensor is slow
            crc = google_crc32c.extend(crc, data[start : start + _BLOCK].tobytes())
    return f"{crc:08x}"
