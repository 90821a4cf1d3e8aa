"""Muon: a matrix's update is its orthogonalised momentum.

Keller Jordan 2024, https://kellerjordan.github.io/posts/muon/. Orthogonalised means that all singular values are near 1.
Five Newton-Schulz steps, matrix products only, come close; matrices of one shape are batched. A layer's queries, keys
and values are three matrices, as in KerasHub.
"""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

Tensor = Any  # of the Keras backend
Shape = tuple[int, ...]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic: the slope at 0 is as steep as convergence allows
_ITERATIONS = 5
_EPSILON = 1e-7  # beside a norm; a matrix of zeros stays one
_SCALE = 0.5  # a rate of 0.02 then fits small and large models
_FIRST_MOMENTUM, _MOMENTUM = 0.85, 0.95
_MOMENTUM_STEPS = 100  # in which the momentum rises from the first to the last


def takes(path: str) -> bool:
    """Whether a variable is a matrix inside a block, and not an embedding, a vector or LoRA's."""
    return path.startswith("transformer_layer_") and path.endswith("/kernel")


def momentum(step: int) -> float:
    """The momentum coefficient of a step, counted from 0."""
    return _FIRST_MOMENTUM + (_MOMENTUM - _FIRST_MOMENTUM) * min(1.0, step / _MOMENTUM_STEPS)


def directions(updates: Mapping[str, Tensor], precision: str = "float32") -> dict[str, Tensor]:
    """Each matrix's update from its momentum, before the learning rate, by variable path.

    Args:
        precision: the training's precision. On GPUs with half precision, products here are in bfloat16.
    """
    groups: dict[Shape, list[str]] = {}
    for path, update in updates.items():
        groups.setdefault(_wide(_matrix_shape(path, tuple(update.shape))), []).append(path)
    found: dict[str, Tensor] = {}
    for shape, paths in groups.items():
        lying = ops.stack([_lying(path, updates[path], shape) for path in paths])
        for path, direction in zip(paths, ops.unstack(_orthogonal(lying, precision), len(paths)), strict=True):
            found[path] = _standing(path, direction, tuple(updates[path].shape))
    return found


def _orthogonal(matrices: Tensor, precision: str) -> Tensor:
    """Orthogonalise matrices, (matrices, rows, columns) with rows <= columns: singular values become near 1."""
    norms = ops.sqrt(ops.sum(ops.square(matrices), axis=(1, 2), keepdims=True))
    scaled = matrices / (norms + _EPSILON)
    on_cpus = keras.distribution.list_devices()[0].startswith("cpu")
    if on_cpus and matrices.shape[1] < matrices.shape[2]:
        return _by_squares(scaled)
    # XLA widens bfloat16 on CPUs
    half = precision != "float32" and not on_cpus
    return ops.cast(_by_steps(ops.cast(scaled, "bfloat16" if half else "float32")), "float32")


def _by_steps(found: Tensor) -> Tensor:
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = ops.matmul(found, ops.transpose(found, (0, 2, 1)))
        found = a * found + ops.matmul(b * square + c * ops.matmul(square, square), found)
    return found


def _by_squares(matrices: Tensor) -> Tensor:
    """The same for wide matrices, with fewer products: each step's factor depends only on M M^T.

    It needs full float32 products, not the GPU default: M M^T squares small singular values.
    """
    a, b, c = _COEFFICIENTS
    square = ops.matmul(matrices, ops.transpose(matrices, (0, 2, 1)))
    identity = ops.eye(matrices.shape[1])
    product = None
    for _ in range(_ITERATIONS):
        factor = a * identity + b * square + c * ops.matmul(square, square)
        product = factor if product is None else ops.matmul(factor, product)
        square = ops.matmul(ops.matmul(factor, square), factor)  # of the last step nobody uses it, nor makes it
    return ops.matmul(product, matrices)


def _matrix_shape(path: str, shape: Shape) -> Shape:
    """(inputs, outputs); attention's variables have a separate dimension for heads."""
    if len(shape) == 2:
        return shape
    first, second, third = shape
    return (first * second, third) if "attention_output" in path else (first, second * third)


def _wide(shape: Shape) -> Shape:
    return min(shape), max(shape)


def _lying(path: str, value: Tensor, shape: Shape) -> Tensor:
    """A variable's value as a matrix of this shape, with rows <= columns."""
    rows_and_columns = _matrix_shape(path, tuple(value.shape))
    matrix = ops.reshape(value, rows_and_columns)
    return matrix if rows_and_columns == shape else ops.transpose(matrix)


def _standing(path: str, matrix: Tensor, shape: Shape) -> Tensor:
    """The inverse of `_lying`, scaled: a matrix with more outputs than inputs gets larger updates."""
    inputs, outputs = _matrix_shape(path, shape)
    scale = _SCALE * max(1.0, outputs / inputs) ** 0.5
    upright = matrix if inputs <= outputs else ops.transpose(matrix)
    return scale * ops.reshape(upright, shape)
