"""GPT-2 as a KerasHub model: built, given weights, read out, and its forward pass for training.

KerasHub's model holds the variables, so that its tools (LoRA, presets) apply to it. Training computes the same
function by `hidden` and `project`, which leave out what GPT-2 has no use for (padding masks, masks for each row) and
draw dropout from a step's number alone: a training that is resumed then drops what it would have dropped.
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

from textmill.errors import TextmillError, UserError
from textmill.gpt2 import weights as tensors
from textmill.gpt2.architecture import Architecture

Tensor = Any  # of the Keras backend


def build(architecture: Architecture, dropout: float = 0.0, seed: int = 1) -> keras.Model:
    """A GPT-2 in float32 with GPT-2's random weights; the same seed gives the same weights.

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
    """The shape of a model that `build` made."""
    backbone = model.backbone
    return Architecture(
        backbone.vocabulary_size,
        backbone.max_sequence_length,
        backbone.num_layers,
        backbone.num_heads,
        backbone.hidden_dim,
    )


def weights_of(model: keras.Model) -> tensors.Weights:
    """A copy of the model's weights, in Hugging Face's names and layouts."""
    shapes = tensors.shapes(architecture_of(model))
    return {
        name: np.concatenate([part.numpy().reshape(*shapes[name][:-1], -1) for part in parts], axis=-1)
        for name, parts in _variables(model).items()
    }


def load_weights(model: keras.Model, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Give the model these weights, in Hugging Face's names and layouts.

    Raises:
        UserError: a tensor is missing, not of this architecture, or of another shape; it is named.
    """
    try:
        tensors.check(weights, architecture_of(model))
    except TextmillError as error:
        raise UserError(f"These weights do not fit the model: {error}") from None
    for name, parts in _variables(model).items():
        for variable, value in zip(parts, np.split(weights[name], len(parts), axis=-1), strict=True):
            variable.assign(value.reshape(variable.shape))


def _variables(model: keras.Model) -> dict[str, tuple[keras.Variable, ...]]:
    """The variables behind each of Hugging Face's tensors; several stand side by side in its last dimension."""
    backbone = model.backbone
    found: dict[str, tuple[keras.Variable, ...]] = {
        "transformer.wte.weight": (backbone.token_embedding.embeddings,),
        "transformer.wpe.weight": (backbone.position_embedding.position_embeddings,),
        **_norm("transformer.ln_f", backbone.layer_norm),
    }
    for number, block in enumerate(backbone.transformer_layers):
        name, attention = f"transformer.h.{number}", block._self_attention_layer
        found |= _norm(f"{name}.ln_1", block._self_attention_layer_norm)
        found |= _linear(f"{name}.attn.c_attn", attention._query_dense, attention._key_dense, attention._value_dense)
        found |= _linear(f"{name}.attn.c_proj", attention._output_dense)
        found |= _norm(f"{name}.ln_2", block._feedforward_layer_norm)
        found |= _linear(f"{name}.mlp.c_fc", block._feedforward_intermediate_dense)
        found |= _linear(f"{name}.mlp.c_proj", block._feedforward_output_dense)
    return found


def _norm(name: str, layer: keras.Layer) -> dict[str, tuple[keras.Variable, ...]]:
    return {f"{name}.weight": (layer.gamma,), f"{name}.bias": (layer.beta,)}


def _linear(name: str, *layers: keras.Layer) -> dict[str, tuple[keras.Variable, ...]]:
    return {
        f"{name}.weight": tuple(layer.kernel for layer in layers),
        f"{name}.bias": tuple(layer.bias for layer in layers),
    }


class Dropout:
    """Dropout whose choices follow from a seed and a step alone; each call in a forward pass drops anew."""

    def __init__(self, rate: float, key: Tensor) -> None:
        """Drop a share `rate` of the elements; `key` is a uint32 scalar, drawn afresh for each step."""
        self._rate = rate
        self._key = key
        self._calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        if self._rate == 0:
            return x
        self._calls += 1
        key = _mixed(self._key + np.uint32(self._calls))
        index = ops.reshape(ops.cast(ops.arange(int(np.prod(x.shape)), dtype="int32"), "uint32"), x.shape)
        # an odd factor and an offset of its own for each call: every call sees another part of the sequence
        bits = _mixed(index * (key | np.uint32(1)) + _mixed(key))
        keep = bits >= np.uint32(self._rate * 0x1_0000_0000)
        return ops.where(keep, x * (1 / (1 - self._rate)), 0.0)


def _mixed(x: Tensor) -> Tensor:
    """A bijection of uint32 in which each output bit depends on all input bits.

    The constants are those of Chris Wellons's `lowbias32` (2018). XLA fuses it into the loop that uses it, so that
    dropout adds nothing that can be measured to a step.
    """
    x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(16))) * np.uint32(0x7FEB352D)
    x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(15))) * np.uint32(0x846CA68B)
    return ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(16)))


def hidden(model: keras.Model, tokens: Tensor, dropout: Dropout | None = None) -> Tensor:
    """The last layer's states, float32 (batch * tokens, width), of int32 tokens (batch, tokens) of static shape."""
    backbone = model.backbone
    drop = dropout or Dropout(0, None)
    batch, length = tokens.shape
    embedded = ops.take(backbone.token_embedding.embeddings, tokens, axis=0)  # (B, T, E)
    x = drop(embedded + backbone.position_embedding.position_embeddings[:length])
    x = ops.reshape(x, (batch * length, -1))  # one matrix for all tokens: (B*T, E)
    for block in backbone.transformer_layers:
        x = x + drop(_attention(block, _normed(block._self_attention_layer_norm, x), batch, length, drop))
        x = x + drop(_feed_forward(block, _normed(block._feedforward_layer_norm, x)))
    return _normed(backbone.layer_norm, x)


def project(model: keras.Model, states: Tensor) -> Tensor:
    """Logits, float32 (rows, vocabulary), of hidden states (rows, width)."""
    return ops.matmul(states, ops.transpose(model.backbone.token_embedding.embeddings))


def _attention(block: keras.Layer, x: Tensor, batch: int, length: int, drop: Dropout) -> Tensor:
    """Causal self-attention of normalised states x, (B*T, E)."""
    layer = block._self_attention_layer
    heads, width = layer._num_heads, x.shape[-1]

    def split(dense: keras.Layer) -> Tensor:
        y = ops.matmul(x, ops.reshape(dense.kernel, (width, width))) + ops.reshape(dense.bias, (width,))
        return ops.transpose(ops.reshape(y, (batch, length, heads, width // heads)), (0, 2, 1, 3))  # (B, H, T, D)

    query, key, value = split(layer._query_dense), split(layer._key_dense), split(layer._value_dense)
    scores = ops.matmul(query * (width // heads) ** -0.5, ops.transpose(key, (0, 1, 3, 2)))  # (B, H, T, T)
    future = np.triu(np.full((length, length), -1e9, np.float32), 1)
    mixed = ops.matmul(drop(ops.softmax(scores + future)), value)
    mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (batch * length, width))
    return ops.matmul(mixed, ops.reshape(layer._output_dense.kernel, (width, width))) + layer._output_dense.bias


def _feed_forward(block: keras.Layer, x: Tensor) -> Tensor:
    inner, outer = block._feedforward_intermediate_dense, block._feedforward_output_dense
    x = ops.gelu(ops.matmul(x, inner.kernel) + inner.bias, approximate=True)  # (B*T, 4E)
    return ops.matmul(x, outer.kernel) + outer.bias


def _normed(layer: keras.Layer, x: Tensor) -> Tensor:
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return centred * ops.rsqrt(variance + layer.epsilon) * layer.gamma + layer.beta
