"""A GPT-2 as an ONNX graph whose weights stay in `model.safetensors`.

One graph does it all: a prompt, a piece of a prompt, one further token of several texts at once, or the scores of a
whole document. Attention is ONNX Runtime's GroupQueryAttention (com.microsoft), which reads and writes one buffer of
keys and values for each text and takes each text's own length.

Inputs (B texts, T tokens of each, M positions asked for, P the window):
    input_ids, position_ids    int64 [B, T]
    seqlens_k                  int32 [B], the text's length after these tokens, less one
    total_sequence_length      int32 [], the longest text's length after these tokens
    logit_positions            int64 [M], which of the T positions' logits are wanted; none is allowed
    past_key_values.I.key, .value   float32 [B, heads, P, width / heads]
Outputs:
    logits                     float32 [B, M, vocabulary]
    present.I.key, .value      as the past; bound to the same memory
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

from textmill.gpt2.architecture import Architecture

_OPSET = 20  # the first with Gelu
_IR_VERSION = 10
_EPSILON = 1e-5  # of every layer normalisation in GPT-2
_RUNTIME = "com.microsoft"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor's little-endian float32 values stand in the weights file."""

    shape: tuple[int, ...]
    offset: int  # bytes from the file's start
    length: int  # bytes


class _Nodes:
    """The nodes of a graph under construction; every method returns the name of the value it adds."""

    def __init__(self) -> None:
        self.all: list[onnx.NodeProto] = []

    def add(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        self.all.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def linear(self, value: str, weights: str, output: str) -> str:
        product = self.add("MatMul", [value, f"{weights}.weight"], f"{output}.product")
        return self.add("Add", [product, f"{weights}.bias"], output)

    def norm(self, value: str, weights: str, output: str) -> str:
        inputs = [value, f"{weights}.weight", f"{weights}.bias"]
        return self.add("LayerNormalization", inputs, output, epsilon=_EPSILON)


def build(architecture: Architecture, tensors: Mapping[str, StoredTensor], file: str) -> onnx.ModelProto:
    """The graph of this architecture over the tensors in `file`, a name relative to the graph's own folder."""
    nodes = _Nodes()
    tokens = nodes.add("Gather", ["transformer.wte.weight", "input_ids"], "tokens")
    positions = nodes.add("Gather", ["transformer.wpe.weight", "position_ids"], "positions")
    value = nodes.add("Add", [tokens, positions], "embedded")  # (B, T, width)
    for layer in range(architecture.layers):
        value = _block(nodes, value, layer, architecture.heads)
    value = nodes.norm(value, "transformer.ln_f", "ln_f")
    wanted = nodes.add("Gather", [value, "logit_positions"], "wanted", axis=1)  # (B, M, width)
    nodes.add("FusedMatMul", [wanted, "transformer.wte.weight"], "logits", domain=_RUNTIME, transB=1)
    inputs, outputs = _values(architecture)
    weights = [_initializer(name, tensor, file) for name, tensor in sorted(tensors.items())]
    graph = helper.make_graph(nodes.all, "gpt2", inputs, outputs, initializer=weights)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_RUNTIME, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="textmill")


def _block(nodes: _Nodes, value: str, layer: int, heads: int) -> str:
    weights, name = f"transformer.h.{layer}", f"h.{layer}"
    past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
    present = [f"present.{layer}.key", f"present.{layer}.value"]
    normed = nodes.norm(value, f"{weights}.ln_1", f"{name}.ln_1")
    packed = nodes.linear(normed, f"{weights}.attn.c_attn", f"{name}.qkv")  # (B, T, 3 width)
    attended = nodes.add(
        "GroupQueryAttention",
        [packed, "", "", *past, "seqlens_k", "total_sequence_length"],
        f"{name}.attended",
        *present,
        domain=_RUNTIME,
        num_heads=heads,
        kv_num_heads=heads,
    )
    projected = nodes.linear(attended, f"{weights}.attn.c_proj", f"{name}.projected")
    value = nodes.add("Add", [value, projected], f"{name}.after_attention")
    normed = nodes.norm(value, f"{weights}.ln_2", f"{name}.ln_2")
    hidden = nodes.linear(normed, f"{weights}.mlp.c_fc", f"{name}.hidden")  # (B, T, 4 width)
    hidden = nodes.add("Gelu", [hidden], f"{name}.gelu", approximate="tanh")
    hidden = nodes.linear(hidden, f"{weights}.mlp.c_proj", f"{name}.fed_forward")
    return nodes.add("Add", [value, hidden], f"{name}.after_feed_forward")


def _values(architecture: Architecture) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    describe = helper.make_tensor_value_info
    inputs = [
        describe("input_ids", TensorProto.INT64, ["B", "T"]),
        describe("position_ids", TensorProto.INT64, ["B", "T"]),
        describe("seqlens_k", TensorProto.INT32, ["B"]),
        describe("total_sequence_length", TensorProto.INT32, []),
        describe("logit_positions", TensorProto.INT64, ["M"]),
    ]
    outputs = [describe("logits", TensorProto.FLOAT, ["B", "M", architecture.vocabulary])]
    cache: list[str | int | None] = [
        "B",
        architecture.heads,
        architecture.window,
        architecture.width // architecture.heads,
    ]
    for layer in range(architecture.layers):
        for kind in ("key", "value"):
            inputs.append(describe(f"past_key_values.{layer}.{kind}", TensorProto.FLOAT, cache))
            outputs.append(describe(f"present.{layer}.{kind}", TensorProto.FLOAT, cache))
    return inputs, outputs


def _initializer(name: str, tensor: StoredTensor, file: str) -> onnx.TensorProto:
    """A tensor whose values are read from the weights file (ONNX's external data)."""
    found = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=tensor.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", file), ("offset", tensor.offset), ("length", tensor.length)):
        found.external_data.add(key=key, value=str(value))
    return found
