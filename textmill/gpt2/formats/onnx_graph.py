"""Build a GPT-2 as an ONNX graph whose weights stay in safetensors files.

One graph handles all cases: a prompt, a chunk of a prompt, one more token of several texts, or the scores of a whole
document. Attention is ONNX Runtime's GroupQueryAttention (com.microsoft), which has one buffer of keys and values per
text and each text's own length.

Inputs (B texts, T tokens each, M requested positions, P the window):
    input_ids, position_ids    int64 [B, T]
    seqlens_k                  int32 [B], the text's length after these tokens, minus one
    total_sequence_length      int32 [], the longest text's length after these tokens
    logit_positions            int64 [M], the requested positions among the T; one or more
    past_key_values.I.key, .value   float32 or float16 [B, heads, P, width / heads]
Outputs:
    logits                     float32 [B, M, vocabulary]
    present.I.key, .value      like the past; bound to the same memory

With float16, the layers' weights, activations, keys and values are float16; embeddings, the last normalisation and the
logits stay float32. Nodes of the graph cast the weights; ONNX Runtime runs them once, on loading.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats.quantisation import BLOCK, PRECISIONS

_OPSET = 21  # the first in which QuantizeLinear takes a scale for each row
_IR_VERSION = 10
_EPSILON = 1e-5  # of every layer normalisation in GPT-2
_RUNTIME = "com.microsoft"
KINDS = {"F32": TensorProto.FLOAT, "U8": TensorProto.UINT8, "I8": TensorProto.INT8}  # by safetensors' names
_LINEAR = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """The position of a tensor's little-endian values in a weights file."""

    shape: tuple[int, ...]
    offset: int  # bytes from the file's start
    length: int  # bytes
    file: str  # its name, relative to the graph's own folder
    kind: int = TensorProto.FLOAT


class _Nodes:
    """Builds a graph's nodes. Every method returns the name of its new value."""

    def __init__(self, precision: str) -> None:
        self.all: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.few_bits = precision in PRECISIONS
        self._precision = precision
        self._half = precision == "float16"

    def add(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        self.all.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def to_layers(self, value: str) -> str:
        """Cast a value to the layers' precision."""
        return self.add("Cast", [value], f"{value}.half", to=TensorProto.FLOAT16) if self._half else value

    def from_layers(self, value: str) -> str:
        return self.add("Cast", [value], f"{value}.single", to=TensorProto.FLOAT) if self._half else value

    def linear(self, value: str, weights: str, output: str, inputs: int, outputs: int) -> str:
        product = f"{output}.product"
        if self.few_bits:
            self.quantised(value, f"{weights}.weight", product, inputs, outputs)
        else:
            self.add("MatMul", [value, self.to_layers(f"{weights}.weight")], product)
        return self.add("Add", [product, self.to_layers(f"{weights}.bias")], output)

    def quantised(self, value: str, weights: str, output: str, inputs: int, outputs: int) -> str:
        """Multiply by quantised weights; activations are rounded to 8 bits."""
        if self._precision == "int4":
            sizes = {"K": inputs, "N": outputs, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
            tensors = [value, f"{weights}.values", f"{weights}.scales"]
            return self.add("MatMulNBits", tensors, output, domain=_RUNTIME, **sizes)
        # with x = step * q + least, x @ W is step * (q @ W) + least * (the sums of W)
        rounded, step, least = self._rounded_rows(value, inputs)
        tensors = [rounded, f"{weights}.values", self.constant(1.0, TensorProto.FLOAT), f"{weights}.scales"]
        whole = self.add("MatMulIntegerToFloat", tensors, f"{output}.whole", domain=_RUNTIME)
        scaled = self.add("Mul", [whole, step], f"{output}.scaled")
        shift = self.add("Mul", [least, f"{weights}.sums"], f"{output}.shift")
        return self.add("Add", [scaled, shift], output)

    def _rounded_rows(self, value: str, width: int) -> tuple[str, str, str]:
        """Quantise a value's last dimension to 8 bits: integers, scale and zero point."""
        last = self.constant([-1], TensorProto.INT64)
        least = self.add("ReduceMin", [value, last], f"{value}.least", keepdims=1)
        above = self.add("Sub", [value, least], f"{value}.above")
        extent = self.add("ReduceMax", [above, last], f"{value}.extent", keepdims=1)
        # of equal values it is 0, and what they are rounded to does not matter: it is multiplied by 0
        step = self.add("Mul", [extent, self.constant(1 / 255, TensorProto.FLOAT)], f"{value}.step")
        rounded = self.add("QuantizeLinear", [above, step], f"{value}.rounded", axis=-1, block_size=width)
        return rounded, step, least

    def constant(self, value: float | list[int], kind: int) -> str:
        name = f"constant {value} {kind}"
        if all(each.name != name for each in self.constants):
            shape = [len(value)] if isinstance(value, list) else []
            self.constants.append(helper.make_tensor(name, kind, shape, value if isinstance(value, list) else [value]))
        return name

    def norm(self, value: str, weights: str, output: str) -> str:
        inputs = [value, self.to_layers(f"{weights}.weight"), self.to_layers(f"{weights}.bias")]
        return self.add("LayerNormalization", inputs, output, epsilon=_EPSILON)


def build(
    architecture: Architecture, tensors: Mapping[str, StoredTensor], precision: str = "float32"
) -> onnx.ModelProto:
    """Build the graph of an architecture over stored tensors.

    Args:
        tensors: by name; for int8 and int4, the matrices of `quantised_names` in the form of `quantisation.stored`.
        precision: float32, float16, int8 or int4.
    """
    nodes = _Nodes(precision)
    tokens = nodes.add("Gather", ["transformer.wte.weight", "input_ids"], "tokens")
    positions = nodes.add("Gather", ["transformer.wpe.weight", "position_ids"], "positions")
    value = nodes.to_layers(nodes.add("Add", [tokens, positions], "embedded"))  # (B, T, width)
    for layer in range(architecture.layers):
        value = _block(nodes, value, layer, architecture)
    last = ["transformer.ln_f.weight", "transformer.ln_f.bias"]
    value = nodes.add("LayerNormalization", [nodes.from_layers(value), *last], "ln_f", epsilon=_EPSILON)
    wanted = nodes.add("Gather", [value, "logit_positions"], "wanted", axis=1)  # (B, M, width)
    if nodes.few_bits:
        nodes.quantised(wanted, "transformer.wte.weight", "logits", architecture.width, architecture.vocabulary)
    else:
        nodes.add("FusedMatMul", [wanted, "transformer.wte.weight"], "logits", domain=_RUNTIME, transB=1)
    inputs, outputs = _values(architecture, TensorProto.FLOAT16 if precision == "float16" else TensorProto.FLOAT)
    weights = [_initializer(name, tensor) for name, tensor in sorted(tensors.items())] + nodes.constants
    return _model(helper.make_graph(nodes.all, "gpt2", inputs, outputs, initializer=weights))


def copying() -> onnx.ModelProto:
    """A graph that copies `source` to `target`, both float16 of shape (N,) on one device."""
    value = helper.make_tensor_value_info
    ends = value("source", TensorProto.FLOAT16, ["N"]), value("target", TensorProto.FLOAT16, ["N"])
    node = helper.make_node("Identity", ["source"], ["target"], name="target")
    return _model(helper.make_graph([node], "copy", [ends[0]], [ends[1]]))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_RUNTIME, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="textmill")


def quantised_names(architecture: Architecture) -> list[str]:
    """The matrices that int8 and int4 graphs quantise; of the token embedding, only the copy for the logits."""
    layers = range(architecture.layers)
    inner = [f"transformer.h.{layer}.{name}.weight" for layer in layers for name in _LINEAR]
    return ["transformer.wte.weight", *inner]


def _block(nodes: _Nodes, value: str, layer: int, architecture: Architecture) -> str:
    weights, name = f"transformer.h.{layer}", f"h.{layer}"
    heads, width = architecture.heads, architecture.width
    past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
    present = [f"present.{layer}.key", f"present.{layer}.value"]
    normed = nodes.norm(value, f"{weights}.ln_1", f"{name}.ln_1")
    packed = nodes.linear(normed, f"{weights}.attn.c_attn", f"{name}.qkv", width, 3 * width)  # (B, T, 3 width)
    attended = nodes.add(
        "GroupQueryAttention",
        [packed, "", "", *past, "seqlens_k", "total_sequence_length"],
        f"{name}.attended",
        *present,
        domain=_RUNTIME,
        num_heads=heads,
        kv_num_heads=heads,
    )
    projected = nodes.linear(attended, f"{weights}.attn.c_proj", f"{name}.projected", width, width)
    value = nodes.add("Add", [value, projected], f"{name}.after_attention")
    normed = nodes.norm(value, f"{weights}.ln_2", f"{name}.ln_2")
    hidden = nodes.linear(normed, f"{weights}.mlp.c_fc", f"{name}.hidden", width, 4 * width)  # (B, T, 4 width)
    hidden = nodes.add("Gelu", [hidden], f"{name}.gelu", approximate="tanh")
    hidden = nodes.linear(hidden, f"{weights}.mlp.c_proj", f"{name}.fed_forward", 4 * width, width)
    return nodes.add("Add", [value, hidden], f"{name}.after_feed_forward")


def _values(architecture: Architecture, kind: int) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """The graph's inputs and outputs; `kind` is the type of keys and values."""
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
        for name in ("key", "value"):
            inputs.append(describe(f"past_key_values.{layer}.{name}", kind, cache))
            outputs.append(describe(f"present.{layer}.{name}", kind, cache))
    return inputs, outputs


def _initializer(name: str, tensor: StoredTensor) -> onnx.TensorProto:
    """A tensor with its values in a file (ONNX's external data)."""
    found = TensorProto(name=name, data_type=tensor.kind, dims=tensor.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", tensor.file), ("offset", tensor.offset), ("length", tensor.length)):
        found.external_data.add(key=key, value=str(value))
    return found
