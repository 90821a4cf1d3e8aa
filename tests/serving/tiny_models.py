"""Tiny models that write words and sentence ends at random."""

from pathlib import Path

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import characters

LINEAGE = {"corpus": {"snapshot": 3, "sources": {"mills": 62}}}


def write_model(path: Path, seed: int, lineage: dict[str, object] = LINEAGE, broken: bool = False) -> Path:
    """A bundle whose texts are letters, spaces and sentence ends, each about as often as another.

    A broken one is whole and loads, but its scores are no numbers.
    """
    tokenizer = characters(["Aabcde. ü"])
    shape = Architecture(tokenizer.vocabulary, window=64, layers=1, heads=1, width=8)
    made = weights.initial(shape, seed=seed)
    # the final bias reads the first component of the embeddings alone: so the end token and U+FFFD become rare,
    # and the others stay about as likely as each other
    embeddings = made["transformer.wte.weight"]
    embeddings *= 25
    embeddings[:, 0] = 0.5
    embeddings[[tokenizer.end, *tokenizer.encode("\ufffd")]] = [-0.5] + 7 * [0]
    made["transformer.ln_f.weight"] *= 0.4
    made["transformer.ln_f.bias"][0] = 8
    if broken:
        made["transformer.ln_f.bias"][1] = float("nan")
    bundle.write_bundle(path, made, shape, tokenizer, {"temperature": 1.0, "max_tokens": 40}, lineage, "# Tiny\n")
    return path
