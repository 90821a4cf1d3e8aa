"""A GPT-2's tensors: names, shapes and initial values.

Names and layouts are those of Hugging Face's GPT2LMHeadModel. The output matrix is the token embedding and has no
entry of its own.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.architecture import Architecture
from textmill.ground.errors import TextmillError

Weights = dict[str, NDArray[np.float32]]


def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape. Matrices of linear layers are (inputs, outputs)."""
    width = architecture.width
    found: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (architecture.vocabulary, width),
        "transformer.wpe.weight": (architecture.window, width),
    }
    linear = {
        "attn.c_attn": (width, 3 * width),  # queries, keys, values side by side
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }
    norms = ["transformer.ln_f"]
    for layer in (f"transformer.h.{i}" for i in range(architecture.layers)):
        norms += [f"{layer}.ln_1", f"{layer}.ln_2"]
        for name, shape in linear.items():
            found |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[1:]}
    for norm in norms:
        found |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return found


def check(weights: Mapping[str, NDArray[np.float32]], architecture: Architecture) -> None:
    """Raise TextmillError unless exactly these tensors have the right shapes. The message names the first wrong one."""
    expected = shapes(architecture)
    if wrong := sorted(expected.keys() ^ weights.keys()):
        problem = "is missing" if wrong[0] in expected else "is not one of this architecture's"
        raise TextmillError(f"The tensor {wrong[0]} {problem}.")
    for name, shape in expected.items():
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            raise TextmillError(
                f"The tensor {name} is {weights[name].dtype} {weights[name].shape}; it must be float32 {shape}."
            )


def not_finite(weights: Mapping[str, NDArray[np.float32]]) -> str | None:
    """The name of the first tensor with a NaN or an infinity, or None."""
    return next((name for name in sorted(weights) if not np.isfinite(weights[name]).all()), None)


def initial(architecture: Architecture, seed: int = 1) -> Weights:
    """GPT-2's random initialisation: normal with deviation 0.02, lower for residual projections.

    Radford et al. 2019, section 2.3: residual projections are scaled by 1/sqrt(residual layers), two per block.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    residual = 0.02 / np.sqrt(2 * architecture.layers)
    weights: Weights = {}
    for name, shape in shapes(architecture).items():
        if name.endswith("bias"):
            weights[name] = np.zeros(shape, np.float32)
        elif ".ln_" in name:
            weights[name] = np.ones(shape, np.float32)
        else:
            deviation = residual if name.endswith("c_proj.weight") else 0.02
            weights[name] = generator.standard_normal(shape, np.float32) * np.float32(deviation)
    return weights
