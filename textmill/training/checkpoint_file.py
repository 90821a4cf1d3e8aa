"""A training checkpoint: weights, optimiser state and step in one safetensors file.

The header's metadata has the other values as JSON, a CRC-32C of the tensors' bytes, and one of the header itself, taken
with that field's digits as zeros. Older files lack the header's CRC; they are read without it. Files are written under
a temporary name and renamed, so that a crash or a full disk leaves the previous checkpoint intact.
"""

import json
import os
import re
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
FROM_THE_START = "delete its folder to train from the start"
_LENGTH = 8  # bytes at the file's start: the header's length
_VALUES, _CRC, _HEADER_CRC = "values", "crc32c", "header_crc32c"
_UNSEALED = "0" * 8
# quotes inside the values are escaped, so that only the field itself matches
_SEAL = re.compile(rf'"{_HEADER_CRC}":"([0-9a-f]{{8}})"'.encode())


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
    metadata = {_VALUES: json.dumps(values), _CRC: _checksum(contiguous), _HEADER_CRC: _UNSEALED}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(contiguous, partial, metadata=metadata)
        _seal(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"The checkpoint {path} cannot be written ({error}); free disk space and run again.") from error
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path, values_only: bool = False, cure: str = FROM_THE_START) -> Checkpoint:
    """Read a checkpoint, or only its values. What is read is checked against its checksum.

    Args:
        cure: what to do about a damaged file, for the error.

    Raises:
        UserError: the file is absent or damaged.
    """
    try:
        sealed = _check_header(path)
        with safe_open(path, "np") as file:
            names = [] if values_only else file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata()
        if metadata.keys() != {_VALUES, _CRC} | ({_HEADER_CRC} if sealed else set()):
            raise ValueError("unknown fields")
        if not values_only and metadata[_CRC] != _checksum(tensors):
            raise ValueError("checksum mismatch")
        return Checkpoint(tensors, json.loads(metadata[_VALUES]))
    except (OSError, SafetensorError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"The checkpoint {path} cannot be read ({error}); {cure}.") from error


def _checksum(tensors: Mapping[str, NDArray[Any]]) -> str:
    """CRC-32C over all tensors' bytes in name order, 8 hex digits."""
    crc = 0
    for name in sorted(tensors):
        data = tensors[name].reshape(-1).view(np.uint8).data
        for start in range(0, len(data), _BLOCK):  # it takes nothing but bytes, and a copy of a whole tensor is slow
            crc = google_crc32c.extend(crc, data[start : start + _BLOCK].tobytes())
    return f"{crc:08x}"


def _seal(path: Path) -> None:
    """Write the header's checksum into it."""
    header = _header(path)
    field = _SEAL.search(header)
    assert field
    with path.open("r+b") as file:
        file.seek(field.start(1))
        file.write(f"{google_crc32c.value(header):08x}".encode())
        file.flush()
        os.fsync(file.fileno())


def _check_header(path: Path) -> bool:
    """Whether the header has a checksum. Raises ValueError if it does not match."""
    header = _header(path)
    field = _SEAL.search(header)
    if not field:
        return False
    unsealed = header[: field.start(1)] + _UNSEALED.encode() + header[field.end(1) :]
    if field[1].decode() != f"{google_crc32c.value(unsealed):08x}":
        raise ValueError("checksum mismatch in the header")
    return True


def _header(path: Path) -> bytes:
    """The file's first bytes: the header's length and the header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        if _LENGTH + length > path.stat().st_size:
            raise ValueError("the file ends too early")
        file.seek(0)
        return file.read(_LENGTH + length)
