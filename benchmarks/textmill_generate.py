"""Contestant: texts written greedily by what serving runs, ONNX Runtime over rows of keys and values."""

import tempfile
import time
from pathlib import Path

import numpy as np
from contestant import arguments, peak_memory, serve

from textmill.gpt2 import tokenizer, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.session import Session

asked = arguments()


def write(session: Session, batch: int, prompt: int, tokens: int) -> float:
    """Seconds to read `batch` random prompts and to write after each of them."""
    prompts = np.random.default_rng(batch).integers(0, session.architecture.vocabulary, (batch, prompt))
    start = time.perf_counter()
    scores = [session.forward(row, each.tolist(), 0, [prompt - 1])[0] for row, each in enumerate(prompts)]
    newest = np.argmax(scores, axis=-1)
    for length in range(prompt, prompt + tokens - 1):
        newest = np.argmax(session.step(newest.tolist(), [length] * batch), axis=-1)
    return time.perf_counter() - start


def main() -> None:
    architecture = Architecture(**asked["model"])
    precision, device = asked.get("precision", "float32"), asked.get("device", "cpu")
    others = [] if precision == "float32" else [precision]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        letters = tokenizer.characters(["abc"])  # never asked: prompts are token numbers
        bundle.write_bundle(target, weights.initial(architecture), architecture, letters, {}, {}, "", others)
        session = Session(target, slots=max(asked["batches"]), precision=precision, device=device)
        serve({"write": lambda **given: write(session, **given), "memory": peak_memory})


if __name__ == "__main__":
    main()
