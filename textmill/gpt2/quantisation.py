"""Weights in eight or four bits, in the layout that ONNX Runtime's MatMulNBits reads.

A matrix is cut into blocks of 32 along its inputs; each block has one float32 scale, and its zero is the middle of the
range (symmetric rounding to nearest). Layout: github.com/microsoft/onnxruntime, docs/ContribOperators.md, MatMulNBits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # inputs that share a scale
BITS = {"int8": 8, "int4": 4}  # by precision


@dataclass(frozen=True, slots=True)
class Quantised:
    """A matrix of a linear layer with N outputs, in B blocks of inputs."""

    values: NDArray[np.uint8]  # (N, B, BLOCK * bits / 8); of four bits, the even input stands in the lower half
    scales: NDArray[np.float32]  # (N, B)


def quantise(matrix: NDArray[np.float32], bits: int) -> Quantised:
    """Round a matrix of shape (outputs, inputs) to `bits`, 8 or 4; inputs are filled up to whole blocks with zeros."""
    outputs, inputs = matrix.shape
    blocks = -(-inputs // BLOCK)
    padded = np.pad(matrix, ((0, 0), (0, blocks * BLOCK - inputs))).reshape(outputs, blocks, BLOCK)
    middle = 1 << (bits - 1)
    # the value farthest from zero falls on the range's longer, negative end: one step more for all the others
    extremes = np.take_along_axis(padded, np.abs(padded).argmax(axis=2, keepdims=True), axis=2)
    scales = (extremes / -middle).astype(np.float32)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    rounded = np.clip(np.rint(padded * inverse), -middle, middle - 1).astype(np.int16) + middle
    values = rounded.astype(np.uint8)
    if bits == 4:
        values = np.asarray(values[..., 0::2] | (values[..., 1::2] << 4), np.uint8)
    return Quantised(values, scales[..., 0])


def restore(quantised: Quantised, inputs: int) -> NDArray[np.float32]:
    """The matrix, (outputs, inputs), as a product with it sees it."""
    values, middle = quantised.values, 128
    if values.shape[2] == BLOCK // 2:
        halves = np.stack([values & 15, values >> 4], axis=-1)
        values, middle = np.asarray(halves.reshape(*values.shape[:2], BLOCK), np.uint8), 8
    whole = (values.astype(np.float32) - middle) * quantised.scales[..., None]
    return np.asarray(whole.reshape(len(values), -1)[:, :inputs], np.float32)
