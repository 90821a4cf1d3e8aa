"""Quantise weights to 8 or 4 bits, in ONNX Runtime's layouts.

8 bits: each output has one scale, and products use integers. Activations are rounded to 8 bits too, each row by its own
minimum and maximum ("zero-point vector-wise", Dettmers et al. 2022, arXiv 2208.07339). Weights go from -64 to 64: AVX2
adds two byte products in 16 bits, and 255 * 64 * 2 fits. So every processor computes the same sums for any batch.

4 bits: a matrix is split into blocks of 32 along its inputs. Each block has one scale
(github.com/microsoft/onnxruntime, docs/ContribOperators.md, MatMulNBits).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # inputs that share a scale of four-bit weights
PRECISIONS = ("int8", "int4")
_LARGEST = 64  # of a weight in a byte
_MIDDLE = 8  # what stands for zero in four bits


@dataclass(frozen=True, slots=True)
class Bytes:
    """A linear layer's matrix in 8 bits, with K inputs and N outputs."""

    values: NDArray[np.int8]  # (K, N)
    scales: NDArray[np.float32]  # (N,)
    sums: NDArray[np.float32]  # (N,), of each output's weights, as a product with them sees them

    def restored(self) -> NDArray[np.float32]:
        """The dequantised matrix, (inputs, outputs)."""
        return self.values * self.scales


@dataclass(frozen=True, slots=True)
class Nibbles:
    """A linear layer's matrix in 4 bits, with N outputs and B blocks of inputs."""

    values: NDArray[np.uint8]  # (N, B, BLOCK / 2); the even input stands in the lower half
    scales: NDArray[np.float32]  # (N, B)

    def restored(self) -> NDArray[np.float32]:
        """The dequantised matrix, (inputs, outputs), with inputs padded to whole blocks."""
        halves = np.stack([self.values & 15, self.values >> 4], axis=-1).reshape(*self.scales.shape, BLOCK)
        whole = (halves.astype(np.float32) - _MIDDLE) * self.scales[..., None]
        return np.asarray(whole.reshape(len(whole), -1).T, np.float32)


def to_bytes(matrix: NDArray[np.float32]) -> Bytes:
    """Quantise a matrix of shape (inputs, outputs) to 8 bits."""
    scales = np.asarray(np.abs(matrix).max(axis=0) / _LARGEST, np.float32)
    rounded = np.rint(matrix * _inverse(scales))
    sums = np.asarray(rounded.sum(axis=0, dtype=np.float64) * scales, np.float32)
    # in C order: of a transposed matrix, numpy's results are in the other
    return Bytes(np.ascontiguousarray(rounded, np.int8), scales, sums)


def to_nibbles(matrix: NDArray[np.float32]) -> Nibbles:
    """Quantise a matrix of shape (inputs, outputs) to 4 bits. Inputs are zero-padded to whole blocks."""
    inputs, outputs = matrix.shape
    blocks = -(-inputs // BLOCK)
    padded = np.pad(matrix.T, ((0, 0), (0, blocks * BLOCK - inputs))).reshape(outputs, blocks, BLOCK)
    # the value farthest from zero falls on the range's longer, negative end: one step more for all the others
    extremes = np.take_along_axis(padded, np.abs(padded).argmax(axis=2, keepdims=True), axis=2)
    scales = (extremes / -_MIDDLE).astype(np.float32)
    rounded = np.clip(np.rint(padded * _inverse(scales)), -_MIDDLE, _MIDDLE - 1)
    values = np.asarray(rounded + _MIDDLE, np.uint8)
    joined = np.ascontiguousarray(values[..., 0::2] | (values[..., 1::2] << 4), np.uint8)
    return Nibbles(joined, np.ascontiguousarray(scales[..., 0]))


def _inverse(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)


def stored(matrix: NDArray[np.float32], precision: str) -> dict[str, NDArray[np.generic]]:
    """The arrays stored in a bundle for a matrix of shape (inputs, outputs), by name suffix."""
    if precision == "int4":
        few = to_nibbles(matrix)
        return {"values": few.values, "scales": few.scales}
    found = to_bytes(matrix)
    return {"values": found.values, "scales": found.scales, "sums": found.sums}
