"""GPT-2 as a KerasHub model: build it, set and read its weights.

KerasHub's model holds the variables, so that its tools (LoRA, presets) work; `forward` computes with them.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # Keras reads it once, when it is first imported

import keras
import keras_hub
from keras import ops

from textmill.gpt2 import weights as tensors
from textmill.gpt2.architecture import Architecture
from textmill.ground.errors import TextmillError, UserError

Tensor = Any  # of the Keras backend


def build(architecture: Architecture, dropout: float = 0.0, seed: int = 1) -> keras.Model:
    """Build a float32 GPT-2 with GPT-2's random weights. The same seed gives the same weights.

    It takes `token_ids` and `padding_mask`, int32 (batch, tokens), and returns logits, float32 (batch, tokens,
    vocabulary).
    """
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=architecture.vocabulary,
        num_layers=architecture.layers,
        num_heads=architecture.heads,
        hidden_dim=architecture.width,
        intermediate_dim=4 * architecture.width,
        dropout=dropout,
        max_sequence_length=architecture.window,
        dtype="float32",
    )
    model = keras_hub.models.GPT2CausalLM(backbone=backbone, preprocessor=None, dtype="float32")
    load_weights(model, tensors.initial(architecture, seed))
    return model


def architecture_of(model: keras.Model) -> Architecture:
    """The architecture of a model from `build`."""
    backbone = model.backbone
    return Architecture(
        backbone.vocabulary_size,
        backbone.max_sequence_length,
        backbone.num_layers,
        backbone.num_heads,
        backbone.hidden_dim,
    )


def weights_of(model: keras.Model) -> tensors.Weights:
    """A copy of the model's weights, in Hugging Face's names and layouts, with LoRA's matrices merged."""
    shapes = tensors.shapes(architecture_of(model))
    return {
        name: np.concatenate([_array(part).reshape(*shapes[name][:-1], -1) for part in parts], axis=-1)
        for name, parts in _values(model, "kernel").items()
    }


def _array(value: Tensor) -> NDArray[np.float32]:
    # a JAX array's copy may be a view of memory that the next step overwrites
    return np.array(ops.convert_to_numpy(value), np.float32)


def load_weights(model: keras.Model, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Set the model's weights, in Hugging Face's names and layouts.

    Raises:
        UserError: a tensor is missing, extra or has another shape. The message names it.
    """
    try:
        tensors.check(weights, architecture_of(model))
    except TextmillError as error:
        raise UserError(f"The weights do not fit the model: {error}") from None
    for name, parts in _values(model, "_kernel").items():
        for variable, value in zip(parts, np.split(weights[name], len(parts), axis=-1), strict=True):
            variable.assign(value.reshape(variable.shape))


def add_low_rank(model: keras.Model, rank: int, alpha: float, seed: int) -> None:
    """Freeze the model and add trainable low-rank matrices to query and value kernels (LoRA, Hu et al. 2021).

    They are KerasHub's: one (width, rank) matrix per head, and one (rank, width / heads) matrix per layer, shared by
    its heads and initially zero. Their product is scaled by alpha / rank.
    """
    model.backbone.enable_lora(rank)
    generator = np.random.Generator(np.random.PCG64([seed, rank]))
    for block in model.backbone.transformer_layers:
        for layer in (block._self_attention_layer._query_dense, block._self_attention_layer._value_dense):
            layer.lora_alpha = alpha
            layer.bias.trainable = False  # KerasHub would train it
            shape = layer.lora_kernel_a.shape
            limit = np.sqrt(6 / shape[0])  # KerasHub's he_uniform, from our own seed
            layer.lora_kernel_a.assign(generator.uniform(-limit, limit, shape).astype(np.float32))


def _values(model: keras.Model, kernel: str) -> dict[str, tuple[Tensor, ...]]:
    """The variables of each Hugging Face tensor; several are concatenated along its last dimension.

    `kernel` is the layers' attribute that is read: `_kernel` is the variable, `kernel` has low-rank matrices merged.
    """
    backbone = model.backbone
    found: dict[str, tuple[Tensor, ...]] = {
        "transformer.wte.weight": (backbone.token_embedding.embeddings,),
        "transformer.wpe.weight": (backbone.position_embedding.position_embeddings,),
        **_norm("transformer.ln_f", backbone.layer_norm),
    }
    for number, block in enumerate(backbone.transformer_layers):
        name, attention = f"transformer.h.{number}", block._self_attention_layer
        found |= _norm(f"{name}.ln_1", block._self_attention_layer_norm)
        found |= _linear(
            kernel, f"{name}.attn.c_attn", attention._query_dense, attention._key_dense, attention._value_dense
        )
        found |= _linear(kernel, f"{name}.attn.c_proj", attention._output_dense)
        found |= _norm(f"{name}.ln_2", block._feedforward_layer_norm)
        found |= _linear(kernel, f"{name}.mlp.c_fc", block._feedforward_intermediate_dense)
        found |= _linear(kernel, f"{name}.mlp.c_proj", block._feedforward_output_dense)
    return found


def _norm(name: str, layer: keras.Layer) -> dict[str, tuple[Tensor, ...]]:
    return {f"{name}.weight": (layer.gamma,), f"{name}.bias": (layer.beta,)}


def _linear(kernel: str, name: str, *layers: keras.Layer) -> dict[str, tuple[Tensor, ...]]:
    return {
        f"{name}.weight": tuple(getattr(layer, kernel) for layer in layers),
        f"{name}.bias": tuple(layer.bias for layer in layers),
    }
