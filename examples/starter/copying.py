"""How much of what a starter writes stands word for word in its pool: `python examples/starter/copying.py --model DIR --pool DIR`.

The model, a bundle, writes on the titles of articles that were held out. Of each passage of 30 tokens that it wrote, it is
looked up whether the pool has the same 30 tokens. The last line is JSON.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pretrain import HELD_OUT, articles

from textmill.gpt2.document import document, topic_prompt
from textmill.gpt2.inference.engine import Engine, generate
from textmill.gpt2.inference.sampling import Settings

LENGTH = 30  # tokens of a passage
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def passages(tokens: Sequence[int]) -> NDArray[np.uint64]:
    """A hash of each passage of 30 tokens, (tokens - 29,)."""
    numbers = np.asarray(tokens, np.uint64) + np.uint64(1)
    count = len(numbers) - LENGTH + 1
    found = np.zeros(max(count, 0), np.uint64)
    for place in range(LENGTH if count > 0 else 0):
        found = found * _PRIME + numbers[place : place + count]
    return found


def measure(model: Path, pool: Path, tokens: int = 200) -> dict[str, float]:
    """Write on each held-out title, and count the passages that the other articles have."""
    texts = list(articles(pool))
    random.Random(1).shuffle(texts)
    with Engine(model, slots=4) as engine:
        read = engine.tokenizer
        known = np.unique(np.concatenate([passages(read.encode(document(*each))) for each in texts[:-HELD_OUT]]))
        copied = written = 0
        for number, (title, _) in enumerate(texts[-HELD_OUT:]):
            settings = Settings.of(engine.defaults, {"max_tokens": tokens, "seed": number})
            text = generate(engine, topic_prompt(read, title), settings).text
            found = passages(read.encode(text))
            written += len(found)
            copied += int(np.isin(found, known).sum())
    return {"texts": HELD_OUT, "passages": written, "copied": copied, "share": round(copied / max(written, 1), 5)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Count what a starter copies from its pool.")
    parser.add_argument("--model", type=Path, required=True, help="the bundle that the training wrote")
    parser.add_argument("--pool", type=Path, required=True, help="the folder that build_pool.py wrote")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.model, asked.pool)))


if __name__ == "__main__":
    main()
