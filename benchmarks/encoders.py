"""Contestant: a text file to tokens in a file, by Textmill, by gpt-2-simple, or by Hugging Face's tokenizers."""

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from contestant import arguments, peak_memory, serve
from numpy.typing import NDArray

Encode = Callable[[], NDArray[Any]]

asked = arguments()
folder, text = Path(asked["gpt2"]), Path(asked["text"])
out = Path(tempfile.mkdtemp()) / "tokens.npz"


def textmill() -> Encode:
    """Ours as Preprocess uses it, once loaded; numbers of two bytes, as in its cache."""
    from textmill.gpt2 import tokenizer

    loaded = tokenizer.gpt2(folder)
    loaded.encode_arrays(["load"])

    def encode() -> NDArray[Any]:
        tokens = loaded.encode_arrays([text.read_text(encoding="utf-8")])[0]
        np.savez(out, tokens.astype(np.uint16))
        return tokens

    return encode


def gpt_2_simple() -> Encode:
    """The lines of its `encode_dataset` after the one that loads the encoder, whose cache of words is new in each call."""
    from gpt_2_simple.src import encoder
    from gpt_2_simple.src.load_dataset import load_dataset

    loaded = encoder.get_encoder(str(folder))

    def encode() -> NDArray[Any]:
        loaded.cache = {}
        chunks = load_dataset(loaded, str(text), 50000)
        np.savez_compressed(out, *chunks)
        return np.concatenate(chunks)

    return encode


def tokenizers() -> Encode:
    """Hugging Face's, over lines, on all cores."""
    from textmill.gpt2 import tokenizer

    loaded = tokenizer.gpt2(folder)._tokenizer

    def encode() -> NDArray[Any]:
        whole = text.read_text(encoding="utf-8")
        pieces = [whole[at : at + 65536] for at in range(0, len(whole), 65536)]
        encoded = loaded.encode_batch_fast(pieces, add_special_tokens=False)
        tokens = np.concatenate([np.array(each.ids) for each in encoded])
        np.savez(out, tokens.astype(np.uint16))
        return tokens

    return encode


encode = {"textmill": textmill, "gpt-2-simple": gpt_2_simple, "tokenizers": tokenizers}[asked["kind"]]()


def run(steps: int) -> dict[str, Any]:
    start = time.perf_counter()
    for _ in range(steps):
        tokens = encode()
    seconds = time.perf_counter() - start
    digest = hashlib.sha256(np.asarray(tokens, np.uint32).tobytes()).hexdigest()
    return {"seconds": seconds, "tokens": len(tokens), "digest": digest}


serve({"run": run, "memory": peak_memory})
