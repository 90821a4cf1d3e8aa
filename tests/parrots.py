"""Models that say one thing, made by hand: real ones, whose behaviour a test can foresee."""

from pathlib import Path

import numpy as np

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import Tokenizer


def write_parrot(
    directory: Path, shape: Architecture, tokenizer: Tokenizer, token: str, index: Path | None = None
) -> str:
    """Write the bundle of a model that is nearly sure of the same token after any text; returns its checksum.

    The vocabulary must not be larger than the width, so that each token has a direction of its own.
    """
    (number,) = tokenizer.encode(token)
    made = weights.initial(shape)
    made["transformer.wte.weight"] = np.eye(shape.vocabulary, shape.width, dtype=np.float32)
    made["transformer.ln_f.weight"][:] = 0  # what is read does not matter
    made["transformer.ln_f.bias"][number] = 9  # nats above any other token
    corpus = {"snapshot": 1, "digest": "ab" * 32, "time": "", "sources": {}, "articles": {}, "bytes": {}}
    lineage = {"name": "parrot", "corpus": corpus, "settings": {}, "code": "0123"}
    return bundle.write_bundle(directory, made, shape, tokenizer, {}, lineage, "", verbatim=index)
