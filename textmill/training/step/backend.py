"""Choose Keras's backend, before the first import of Keras."""

import os
import sys

from textmill.ground.errors import UserError


def choose(backend: str) -> None:
    """Make Keras use `tensorflow` or `jax` in this process and its children.

    Raises:
        UserError: Keras was already imported with the other backend, or JAX is not installed.
    """
    if (keras := sys.modules.get("keras")) is not None and hasattr(keras, "config"):
        if (taken := keras.config.backend()) != backend:
            raise UserError(
                f"train.backend '{backend}' cannot be set, because this process already uses {taken}; "
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
        raise UserError(f"train.backend 'jax' needs JAX ({error}); run: pip install 'textmill[jax]'.") from error


def device_count(wanted: int | str, there: int) -> int:
    """The number of devices that `devices` means on a machine with this many.

    Raises:
        UserError: the machine has fewer devices.
    """
    count = there if wanted == "all" else int(wanted)
    if count > there:
        raise UserError(f"train.devices is {count}, but this machine has {there}; set it to {there} or all.")
    return count
