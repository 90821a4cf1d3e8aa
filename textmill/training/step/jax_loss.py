"""The loss with JAX in chunks of rows: only one chunk's logits are in memory at a time.

A chunk's gradients are computed with its logits (Hsu et al. 2024, "Liger Kernel"), so that logits are neither stored for
the backward pass nor recomputed.
"""

from functools import partial
from typing import Any

import jax
from jax import numpy as jnp

from textmill.training.memory.estimate import chunks_of

Array = Any  # of JAX

_GPU_COLUMNS = 128  # tensor cores want matrices whose sides are multiples of 64; GPT-2's vocabulary is odd


def mean_loss(states: Array, embeddings: Array, targets: Array, compute: str) -> Array:
    """The mean of `losses`, in nats. Gradients flow to states and embeddings, both float32."""
    columns = _GPU_COLUMNS if jax.default_backend() == "gpu" else 1
    return _mean_loss(states, embeddings, targets, compute, chunks_of(*_sizes(states, embeddings)), columns)


def losses(states: Array, embeddings: Array, targets: Array, compute: str, chunks: int | None = None) -> Array:
    """Each row's loss in nats, (rows,), for hidden states (rows, width) and their next tokens, (rows,).

    Args:
        embeddings: (vocabulary, width).
        compute: the type of matrix products.
        chunks: a divisor of the rows; None: the result of `chunks_of`.
    """
    matrix = embeddings.astype(compute)

    def of_chunk(states: Array, targets: Array) -> Array:
        return _of_logits(_logits(states, matrix, len(embeddings)), targets)[0]

    split = _split(states, targets, chunks or chunks_of(*_sizes(states, embeddings)))
    return jax.lax.map(lambda chunk: of_chunk(*chunk), split).T.reshape(-1)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _mean_loss(states: Array, embeddings: Array, targets: Array, compute: str, chunks: int, columns: int) -> Array:
    return jnp.mean(losses(states, embeddings, targets, compute, chunks))


def _with_gradients(
    states: Array, embeddings: Array, targets: Array, compute: str, chunks: int, columns: int
) -> tuple[Array, tuple[Array, Array]]:
    """The mean loss, and the gradients of the summed loss for states and embeddings, both float32."""
    vocabulary, width = embeddings.shape
    matrix = jnp.pad(embeddings.astype(compute), ((0, -vocabulary % columns), (0, 0)))

    def add(sums: tuple[Array, Array], chunk: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        states, targets = chunk
        logits = _logits(states, matrix, vocabulary)
        loss, total = _of_logits(logits, targets)
        chosen = jnp.arange(len(matrix)) == targets[:, None]
        by_logits = (jnp.exp(logits - total[:, None]) - chosen).astype(compute)
        by_embeddings = _product(by_logits.T, states.astype(compute))
        return (sums[0] + jnp.sum(loss), sums[1] + by_embeddings), _product(by_logits, matrix)

    zeros = (jnp.float32(0), jnp.zeros(matrix.shape, jnp.float32))
    (total, by_embeddings), by_states = jax.lax.scan(add, zeros, _split(states, targets, chunks))
    return total / len(states), (by_states.swapaxes(0, 1).reshape(-1, width), by_embeddings[:vocabulary])


def _backward(
    compute: str, chunks: int, columns: int, of_sum: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array, None]:
    by_states, by_embeddings = of_sum
    factor = gradient / len(by_states)
    return by_states * factor, by_embeddings * factor, None


_mean_loss.defvjp(_with_gradients, _backward)


def _sizes(states: Array, embeddings: Array) -> tuple[int, int]:
    return len(states), len(embeddings)


def _split(states: Array, targets: Array, chunks: int) -> tuple[Array, Array]:
    """Rows in chunks, (chunks, rows / chunks, ...)."""
    # a chunk has rows from all over the batch: of several devices each then has a part of it
    return states.reshape(-1, chunks, states.shape[1]).swapaxes(0, 1), targets.reshape(-1, chunks).T


def _logits(states: Array, matrix: Array, vocabulary: int) -> Array:
    """Float32 logits (rows, columns of the matrix's transpose). Columns beyond the vocabulary are never chosen."""
    logits = (states.astype(matrix.dtype) @ matrix.T).astype(jnp.float32)
    return logits if len(matrix) == vocabulary else jnp.where(jnp.arange(len(matrix)) < vocabulary, logits, -jnp.inf)


def _of_logits(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Each row's loss and log-sum-exp."""
    total = jax.nn.logsumexp(logits, axis=1)
    return total - jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0], total


def _product(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)
