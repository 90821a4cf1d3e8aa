"""What only JAX's training step has, each beside what it must equal. Imported where Keras computes with JAX."""

import jax
import numpy as np
from jax import numpy as jnp

from textmill.gpt2 import forward
from textmill.gpt2 import model as gpt2
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.optimiser import AdamW
from textmill.gpt2.training_step_jax import JaxStep, chunks_of, losses
from textmill.settings import Train

_GENERATOR = np.random.default_rng(2)


def _normal(*shape: int) -> jax.Array:
    return jnp.asarray(_GENERATOR.normal(0, 1, shape), jnp.float32)


def attention() -> float:
    """The largest difference between JAX's fused attention and ours, (batch, tokens, heads, width / heads)."""
    query, key, value = (_normal(2, 7, 3, 4) for _ in range(3))
    plain = forward.attended(query, key, value, forward.Dropout(0, None))
    return float(jnp.abs(plain - forward.flash_attended(query, key, value, "xla")).max())


def chunked_loss() -> float:
    """The largest difference of losses and of their gradients between one chunk and four."""
    states, embeddings, targets = _normal(24, 16), _normal(50, 16), jnp.asarray(_GENERATOR.integers(0, 50, 24))
    scales = _normal(24)
    assert chunks_of(24, 50) == 1
    assert chunks_of(24, 2**27) == 12

    def of(chunks: int) -> jax.Array:
        def total(states: jax.Array, embeddings: jax.Array) -> jax.Array:
            return jnp.sum(scales * losses(states, embeddings, targets, chunks))

        parts = (losses(states, embeddings, targets, chunks), *jax.grad(total, (0, 1))(states, embeddings))
        return jnp.concatenate([part.reshape(-1) for part in parts])

    return float(jnp.abs(of(1) - of(4)).max())


def less_memory() -> float:
    """The temporary memory of a step that recomputes, as a share of that of one that does not."""
    architecture = Architecture(vocabulary=20, window=32, layers=4, heads=2, width=32)
    rows = np.zeros((1, 16, 32), np.int32)

    def taken(recompute: bool) -> int:
        settings = Train(recompute=recompute)
        step = JaxStep(gpt2.build(architecture), settings, optimiser := AdamW(settings))
        lowered = step._train.lower(step._state, step._frozen, rows, rows, optimiser.rates(0, 1e-3), np.uint32(1))
        found: int = lowered.compile().memory_analysis().temp_size_in_bytes
        return found

    return taken(True) / taken(False)
