"""Which library Keras computes with. Keras reads it once, when it is first imported, so it is chosen before that."""

import os
import sys

from textmill.ground.errors import UserError


def choose(backend: str) -> None:
    """Have Keras compute with `tensorflow` or `jax` in this process and those it starts.

    Raises:
        UserError: Keras was imported before, with the other one, or JAX is not installed.
    """
    if (keras := sys.modules.get("keras")) is not None and hasattr(keras, "config"):
        if (taken := keras.config.backend()) != backend:
            raise UserError(
                f"train.backend: '{backend}' comes too late, this process computes with {taken}; "
                f"set KERAS_BACKEND={backend} before it starts."
            )
        return
    if backend == "jax":
        _require_jax()
    os.environ["KERAS_BACKEND"] = backend


def _require_jax() -> None:
    try:
        import jax  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"train.backend: 'jax' needs JAX ({error}); install it with: pip install 'textmill[jax]'."
        ) from error


def device_count(wanted: int | str, there: int) -> int:
    """How many devices `devices` means on a machine that has this many.

    Raises:
        UserError: there are not so many.
    """
    count = there if wanted == "all" else int(wanted)
    if count > there:
        raise UserError(
            f"train.devices: {count} devices are wanted and this machine has {there}; make it {there} or all."
        )
    return count
