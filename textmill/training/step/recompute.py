"""Gradient checkpointing (Chen et al. 2016): recompute activations in the backward pass.

Only the function's arguments are stored for the backward pass. The recomputation must depend on the incoming gradient:
otherwise a compiler would merge it with the first computation or run it too early.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any  # of the Keras backend


def recomputed(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Compute `function(*arguments)`. Gradients flow only to the arguments.

    The first argument and the result are float32 matrices. All large activations must depend on the first argument.
    """
    if keras.config.backend() == "jax":
        return _recomputed_by_jax(function, *arguments)
    return _recomputed_by_tensorflow(function, *arguments)


def _recomputed_by_jax(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    import jax

    @jax.custom_vjp
    def forward(*inputs: Tensor) -> Tensor:
        return function(*inputs)

    def kept(*inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return function(*inputs), inputs

    def backward(inputs: tuple[Tensor, ...], gradient: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = jax.vjp(function, _after(gradient, inputs[0]), *inputs[1:])[1](gradient)
        return found

    forward.defvjp(kept, backward)
    return forward(*arguments)


def _recomputed_by_tensorflow(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    import tensorflow as tf

    @tf.custom_gradient
    def forward(*inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
        def backward(gradient: Tensor) -> list[Tensor]:
            kept = [_after(gradient, inputs[0]), *inputs[1:]]
            with tf.GradientTape() as tape:
                tape.watch(kept)
                again = function(*kept)
            found: list[Tensor] = tape.gradient(again, kept, output_gradients=gradient)
            return found

        return function(*inputs), backward

    return forward(*arguments)


def _after(gradient: Tensor, x: Tensor) -> Tensor:
    """x, made to depend on the gradient.

    XLA's optimisation barrier, used by jax.checkpoint, does not work on CPUs: XLA removes it before scheduling. The
    added number is zero unless the gradient is NaN, which no compiler can rule out.
    """
    element = gradient[0, 0]
    return x + ops.where(ops.equal(element, element), np.float32(0), np.float32(np.nan))
