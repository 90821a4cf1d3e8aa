"""GPT-2's forward pass for training, on the variables of `keras_model.build`'s model.

It computes the same as KerasHub's model, without features that GPT-2 does not use (padding masks, masks per row). Dropout
depends only on seed and step, so a resumed training drops the same elements.
"""

from typing import Any, Literal

import numpy as np

from textmill.training.step import keras_model as gpt2  # noqa: F401  (before Keras: it chooses the backend)
from textmill.training.step.recompute import recomputed

import keras  # isort: skip
from keras import ops  # isort: skip

Tensor = Any  # of the Keras backend


class Dropout:
    """Dropout that depends only on seed and step. Each call in a forward pass drops other elements."""

    def __init__(self, rate: float, key: Tensor, part: Tensor | None = None, calls: int = 0) -> None:
        """Drop a fraction `rate` of the elements.

        Args:
            rate: at least 0, less than 1.
            key: a uint32 scalar, new for each step.
            part: a uint32 scalar, the index of this equal part of a batch, counted from 0. Together, the parts drop
            the same elements as the whole. None: the whole batch.
            calls: number of earlier calls in this forward pass.
        """
        self.rate = rate
        self._key = key
        self._part = part
        self.calls = calls

    def after(self, calls: int) -> "Dropout":
        """The state after this many calls."""
        return Dropout(self.rate, self._key, self._part, calls)

    def __call__(self, x: Tensor) -> Tensor:
        if self.rate == 0:
            return x
        self.calls += 1
        key = _mixed(self._key + np.uint32(self.calls))
        size, inner = int(np.prod(x.shape)), x.shape[-1]
        # an element's index is its row's start and its column, each scaled alone: XLA would compute all indices while it
        # compiles, and keep 8 bytes for each
        starts = ops.convert_to_tensor(np.arange(0, size, inner, dtype=np.uint32).reshape((*x.shape[:-1], 1)))
        if self._part is not None:
            starts = starts + self._part * np.uint32(size)  # every x has the batch's rows first
        # an odd factor and an offset of its own for each call: every call sees another part of the sequence
        factor = key | np.uint32(1)
        columns = ops.convert_to_tensor(np.arange(inner, dtype=np.uint32)) * factor
        bits = _mixed(starts * factor + _mixed(key) + columns)
        keep = bits >= np.uint32(self.rate * 0x1_0000_0000)
        return ops.where(keep, x * (1 / (1 - self.rate)), 0.0)


def _mixed(x: Tensor) -> Tensor:
    """A bijection of uint32 in which each output bit depends on all input bits.

    The constants are those of Chris Wellons's `lowbias32` (2018). XLA fuses it into the loop
    that uses it, so dropout adds no measurable time.
    """
    x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(16))) * np.uint32(0x7FEB352D)
    x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(15))) * np.uint32(0x846CA68B)
    return ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(16)))


def hidden(
    model: keras.Model,
    tokens: Tensor,
    dropout: Dropout | None = None,
    compute: str = "float32",
    recompute: bool = False,
) -> Tensor:
    """The last layer's states, float32 (batch * tokens, width), for int32 tokens (batch, tokens) of static shape.

    Args:
        compute: the type of matrix products; sums, norms and softmax stay float32.
        recompute: store no layer's activations for the backward pass.
    """
    backbone = model.backbone
    drop = dropout or Dropout(0, None)
    batch, length = tokens.shape
    embedded = ops.take(backbone.token_embedding.embeddings, tokens, axis=0)  # (B, T, E)
    # taken by rows, not added to each text: XLA would sum that gradient over texts in one thread, in a loop that adds up
    # every layer's share anew
    places = np.tile(np.arange(length, dtype=np.int32), (batch, 1))
    x = drop(embedded + ops.take(backbone.position_embedding.position_embeddings, places, axis=0))
    x = ops.reshape(x, (batch * length, -1))  # one matrix for all tokens: (B*T, E)
    for number, block in enumerate(backbone.transformer_layers):
        layer = _Block(block, batch, length, drop.after(1 + _CALLS * number), compute)
        x = layer.recomputed(x) if recompute else layer(x)
    return _normed(backbone.layer_norm, x)


def project(model: keras.Model, states: Tensor, compute: str = "float32") -> Tensor:
    """Logits, float32 (rows, vocabulary), of hidden states (rows, width)."""
    return ops.cast(_product(states, ops.transpose(model.backbone.token_embedding.embeddings), compute), "float32")


_CALLS = 3  # of dropout, in each block


class _Block:
    """One layer of the transformer on states x, float32 (B*T, E)."""

    def __init__(self, block: keras.Layer, batch: int, length: int, drop: Dropout, compute: str) -> None:
        self._block = block
        self._batch = batch
        self._length = length
        self._drop = drop
        self._compute = compute

    def __call__(self, x: Tensor, drop: Dropout | None = None) -> Tensor:
        drop = drop or self._drop
        block = self._block
        x = x + self._wide(drop(self._attention(_normed(block._self_attention_layer_norm, x), drop)))
        return x + self._wide(drop(self._feed_forward(_normed(block._feedforward_layer_norm, x))))

    def recomputed(self, x: Tensor) -> Tensor:
        """The same layer with gradient checkpointing."""
        variables = self._block.weights

        def function(x: Tensor, *values: Tensor) -> Tensor:
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return self(x, self._drop.after(self._drop.calls))

        return recomputed(function, x, *(ops.convert_to_tensor(variable.value) for variable in variables))

    def _attention(self, x: Tensor, drop: Dropout) -> Tensor:
        """Causal self-attention of normalised states x, (B*T, E)."""
        layer = self._block._self_attention_layer
        heads, width, compute = layer._num_heads, x.shape[-1], self._compute
        x = ops.cast(x, compute)

        def split(dense: keras.Layer) -> Tensor:
            y = self._linear(x, ops.reshape(dense.kernel, (width, width)), ops.reshape(dense.bias, (width,)))
            return ops.reshape(y, (self._batch, self._length, heads, width // heads))  # (B, T, H, D)

        query, key, value = split(layer._query_dense), split(layer._key_dense), split(layer._value_dense)
        mixed = attended(query, key, value, drop)
        mixed = ops.reshape(mixed, (self._batch * self._length, width))
        return self._linear(mixed, ops.reshape(layer._output_dense.kernel, (width, width)), layer._output_dense.bias)

    def _feed_forward(self, x: Tensor) -> Tensor:
        inner, outer = self._block._feedforward_intermediate_dense, self._block._feedforward_output_dense
        x = ops.gelu(self._linear(x, inner.kernel, inner.bias), approximate=True)  # (B*T, 4E)
        return self._linear(x, outer.kernel, outer.bias)

    def _linear(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        return _product(x, kernel, self._compute) + ops.cast(bias, self._compute)

    def _wide(self, x: Tensor) -> Tensor:
        return ops.cast(x, "float32")


def attended(query: Tensor, key: Tensor, value: Tensor, drop: Dropout) -> Tensor:
    """Causal attention. All inputs and the result have shape (batch, tokens, heads, width / heads) and one type."""
    if drop.rate == 0 and _has_flash_attention(query):
        return flash_attended(query, key, value, "cudnn")
    query, key, value = (ops.transpose(each, (0, 2, 1, 3)) for each in (query, key, value))  # (B, H, T, D)
    scores = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2)))  # (B, H, T, T)
    future = np.triu(np.full(scores.shape[-2:], -1e9, np.float32), 1)
    shares = ops.softmax(ops.cast(scores, "float32") + future)
    mixed = ops.matmul(drop(ops.cast(shares, query.dtype)), value)
    return ops.transpose(mixed, (0, 2, 1, 3))


def flash_attended(query: Tensor, key: Tensor, value: Tensor, implementation: Literal["cudnn", "xla"]) -> Tensor:
    """The same by JAX's fused attention, `cudnn` (Dao et al. 2022) or `xla`."""
    import jax

    return jax.nn.dot_product_attention(query, key, value, is_causal=True, implementation=implementation)


def _has_flash_attention(query: Tensor) -> bool:
    """Whether cuDNN's fused attention supports these inputs; it needs JAX, a GPU and a 16-bit type."""
    if keras.config.backend() != "jax" or keras.backend.standardize_dtype(query.dtype) == "float32":
        return False
    import jax

    return jax.default_backend() == "gpu"


def _product(x: Tensor, y: Tensor, compute: str) -> Tensor:
    return ops.matmul(ops.cast(x, compute), ops.cast(y, compute))


def _normed(layer: keras.Layer, x: Tensor) -> Tensor:
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return centred * ops.rsqrt(variance + layer.epsilon) * layer.gamma + layer.beta
