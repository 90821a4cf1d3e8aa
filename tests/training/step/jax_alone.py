"""What only JAX's training step has, each beside what it must equal. Imported where Keras computes with JAX."""

import os
import signal
import tempfile
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from jax import numpy as jnp

from textmill.corpus import tfrecords
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import characters
from textmill.settings.training import Train
from textmill.training import checkpoint_file, loop
from textmill.training.checkpoints import LAST
from textmill.training.dataset import TokenStream
from textmill.training.log import Point
from textmill.training.memory import estimate
from textmill.training.memory.devices import Devices
from textmill.training.step import forward, jax_loss
from textmill.training.step import keras_model as gpt2
from textmill.training.step.jax_step import JaxStep
from textmill.training.step.optimiser import Optimiser

_GENERATOR = np.random.default_rng(2)
_TEXT = "The mill by the weir grinds the wheat to flour. " * 10


def _normal(*shape: int) -> jax.Array:
    return jnp.asarray(_GENERATOR.normal(0, 1, shape), jnp.float32)


def attention() -> float:
    """The largest difference between JAX's fused attention and ours, (batch, tokens, heads, width / heads)."""
    query, key, value = (_normal(2, 7, 3, 4) for _ in range(3))
    plain = forward.attended(query, key, value, forward.Dropout(0, None))
    return float(jnp.abs(plain - forward.flash_attended(query, key, value, "xla")).max())


def chunked_loss() -> float:
    """The largest difference of the loss and its gradients between JAX's own, and four chunks with columns added."""
    states, embeddings, targets = _normal(24, 16), _normal(50, 16), jnp.asarray(_GENERATOR.integers(0, 50, 24))

    def plainly(states: jax.Array, embeddings: jax.Array) -> jax.Array:
        chances = jax.nn.log_softmax(states @ embeddings.T)
        return -jnp.mean(chances[jnp.arange(24), targets])

    def in_chunks(states: jax.Array, embeddings: jax.Array) -> jax.Array:
        return 3 * jax_loss._mean_loss(states, embeddings, targets, "float32", 4, 64) / 3

    def figures(loss: object) -> jax.Array:
        found, gradients = jax.value_and_grad(loss, (0, 1))(states, embeddings)
        return jnp.concatenate([found.reshape(-1), *(each.reshape(-1) for each in gradients)])

    of_rows = jnp.mean(jax_loss.losses(states, embeddings, targets, "float32", 4)) - plainly(states, embeddings)
    return float(jnp.maximum(jnp.abs(figures(plainly) - figures(in_chunks)).max(), jnp.abs(of_rows)))


def _temporary(architecture: Architecture, batch: int, settings: Train) -> int:
    """The bytes that a compiled step takes beside its state, by XLA's own plan; nothing is computed."""
    rows = np.zeros((1, batch, architecture.window), np.int32)
    step = JaxStep(gpt2.build(architecture), settings, optimiser := Optimiser(settings))
    lowered = step._train.lower(step._state, step._frozen, rows, rows, optimiser.rates(0, 1e-3), np.uint32(1))
    found: int = lowered.compile().memory_analysis().temp_size_in_bytes
    return found


def planned_memory() -> dict[str, float]:
    """What XLA plans to take as a share of the estimate, of layers alone and of a large vocabulary in chunks; and what
    it plans where layers are computed again, as a share of what it plans where they are not.
    """
    layers = Architecture(vocabulary=64, window=256, layers=4, heads=4, width=64)
    words = Architecture(vocabulary=50257, window=256, layers=1, heads=2, width=32)
    assert estimate.chunks_of(32 * words.window, words.vocabulary) == 4
    plain = _temporary(layers, 16, Train(optimiser="adamw"))
    return {
        "layers": plain / _estimate(layers, 16),
        "words": _temporary(words, 32, Train(optimiser="adamw")) / _estimate(words, 32),
        "recomputed": _temporary(layers, 16, Train(optimiser="adamw", recompute=True)) / plain,
    }


def _estimate(architecture: Architecture, batch: int) -> int:
    found = estimate.estimate(
        architecture, Train(optimiser="adamw", backend="jax"), batch, Devices(1, 10**13, halves=False)
    )
    return found.activations + 4 * architecture.parameters  # gradients: all of the state that a step makes itself


def resumed() -> bool:
    """Whether a training that was ended by SIGKILL goes on to the very weights of one that was not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = _task(folder)
        if not (child := os.fork()):
            _train_until_killed(task, folder)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        last = checkpoint_file.load(folder / "killed" / task.key / LAST, values_only=True)
        assert last.values["step"] == 7
        after = loop.train(task, folder / "killed", folder / "after")
        unbroken = loop.train(task, folder / "unbroken", folder / "logs")
    return all(after.weights[name].tobytes() == value.tobytes() for name, value in unbroken.weights.items())


def _task(folder: Path) -> loop.Task:
    tokenizer = characters([_TEXT])
    file = folder / "windows"
    file.write_bytes(tfrecords.frame(tfrecords.encode_example({"tokens": tokenizer.encode(_TEXT)})))
    tokens = TokenStream.pack([file], tokenizer.vocabulary, folder)
    settings = Train(
        steps=12, batch=4, warmup_steps=0, eval_every=4, sample_every=12, checkpoint_every=1, backend="jax"
    )
    architecture = Architecture(tokenizer.vocabulary, window=16, layers=1, heads=2, width=16)
    return loop.Task(architecture, settings, tokens, tokens, tokenizer, topics=("The",))


def _train_until_killed(task: loop.Task, folder: Path) -> NoReturn:
    def kill(point: Point) -> None:
        if point.step == 8:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.train(task, folder / "killed", folder / "before", kill)
    os._exit(1)
