"""A bundle converted for CTranslate2 (opennmt.net/CTranslate2); its tokens are named by number."""

import tempfile
from pathlib import Path
from typing import Any

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.weights import Weights
from textmill.ground.errors import UserError

_COMPUTE = {"float32": "float32", "float16": "float16", "int8": "int8_float32"}  # CTranslate2's words


def compute_type(directory: Path, precision: str) -> str:
    """CTranslate2's name of a precision; auto: int8 if the bundle was made for it, else float32.

    Raises:
        UserError: CTranslate2 does not support it.
    """
    if precision == "auto":
        precision = "int8" if "int8" in bundle.precisions(directory) else "float32"
    if precision not in _COMPUTE:
        raise UserError(f"CTranslate2 does not support {precision}; set serve.precision to {', '.join(_COMPUTE)}.")
    return _COMPUTE[precision]


def load(
    directory: Path, architecture: Architecture, end: int, compute: str, device: str, slots: int, threads: int
) -> Any:
    """Convert a bundle's weights and load them.

    Raises:
        UserError: CTranslate2 is not installed or cannot use the device.
    """
    try:
        import ctranslate2
    except ImportError:
        raise UserError("The engine ctranslate2 is not installed; run 'pip install textmill[ctranslate2]'.") from None
    with tempfile.TemporaryDirectory(prefix="textmill-") as folder:
        _convert(bundle.read_weights(directory), architecture, end).save(folder)
        try:
            return ctranslate2.Generator(
                folder,
                device=device,
                compute_type=compute,
                inter_threads=slots,
                intra_threads=max(1, threads // slots) if threads else 0,
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"CTranslate2 cannot load the model ({error}); install the GPU's driver and the CUDA libraries, "
                "or change serve.precision."
            ) from error


def _convert(weights: Weights, architecture: Architecture, end: int) -> Any:
    """The model in CTranslate2's form."""
    from ctranslate2.specs import common_spec, transformer_spec

    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        architecture.layers, architecture.heads, pre_norm=True, activation=common_spec.Activation.GELUTanh
    )

    def linear(target: Any, name: str) -> None:
        target.weight = weights[f"{name}.weight"].T.copy()  # (outputs, inputs)
        target.bias = weights[f"{name}.bias"]

    def norm(target: Any, name: str) -> None:
        target.gamma, target.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = decoder.projection.weight = weights["transformer.wte.weight"]
    decoder.position_encodings.encodings = weights["transformer.wpe.weight"]
    norm(decoder.layer_norm, "transformer.ln_f")
    for number, layer in enumerate(decoder.layer):
        name = f"transformer.h.{number}"
        norm(layer.self_attention.layer_norm, f"{name}.ln_1")
        linear(layer.self_attention.linear[0], f"{name}.attn.c_attn")
        linear(layer.self_attention.linear[1], f"{name}.attn.c_proj")
        norm(layer.ffn.layer_norm, f"{name}.ln_2")
        linear(layer.ffn.linear_0, f"{name}.mlp.c_fc")
        linear(layer.ffn.linear_1, f"{name}.mlp.c_proj")
    spec.register_vocabulary([str(number) for number in range(architecture.vocabulary)])
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = str(end)
    spec.validate()
    spec.optimize()
    return spec
