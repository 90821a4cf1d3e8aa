"""Train a starter base on a pool of texts and pack it: `python examples/starter/pretrain.py --pool DIR --out DIR`.

The pool is what build_pool.py wrote. A training that is stopped goes on when the same command is given again. What comes out
is a folder of at most 15 MB with the weights in float16, which `model.base` takes by its path; `--into` names another place,
such as textmill/training/bases/starter, from which `base: starter` is read. `--base DIR` goes on from such a folder, with lower rates.
"""

import argparse
import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from textmill.gpt2.document import document
from textmill.gpt2.formats import checkpoint, hugging_face
from textmill.gpt2.tokenizer import END

HELD_OUT = 60  # articles, the last of the text, by which the best step is chosen
STEPS = 4700  # about 100 minutes on two quiet cores
RECIPE: dict[str, dict[str, Any]] = {
    "model": {"layers": 6, "heads": 8, "width": 256, "window": 256, "quantise": "none"},
    "tokenizer": {"vocabulary": 4096},
    "train": {
        "batch": 10,
        "optimiser": "muon",
        "muon_learning_rate": 0.03,
        "learning_rate": 0.003,
        "embedding_rate": 0.004,
        "weight_decay": 0.05,
        "beta_2": 0.98,
        "schedule": "linear",
        "decay_from": 0.35,
        "dropout": 0.0,
        "eval_every": 200,
        "sample_every": 1000,
        "checkpoint_every_s": 120,
        "patience": 0,
    },
}
# what another stage on the weights of a former one has instead
LATER = {"muon_learning_rate": 0.02, "learning_rate": 0.002, "embedding_rate": 0.003, "decay_from": 0.25}


def articles(pool: Path) -> Iterator[tuple[str, str]]:
    """Stream (title, text) of a pool's articles."""
    for file in sorted(pool.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                article = json.loads(line)
                yield article["title"], article["text"]


def write_text(pool: Path, file: Path) -> float:
    """Write the pool as one text, its articles in a random order, and return the share that is held out, in percent."""
    texts = [document(title, text) + END for title, text in articles(pool)]
    if len(texts) <= HELD_OUT:
        sys.exit(f"The pool at {pool} has {len(texts)} articles, too few to learn from; build it with build_pool.py.")
    random.Random(1).shuffle(texts)
    with file.open("w", encoding="utf-8") as out:
        out.writelines(texts)
    return 100 * sum(map(len, texts[-HELD_OUT:])) / sum(map(len, texts))


def train(pool: Path, out: Path, steps: int, base: Path | None = None) -> Path:
    """Train, or resume, and return the bundle's folder; with a base, from its weights and with its tokenizer."""
    out.mkdir(parents=True, exist_ok=True)
    percent = write_text(pool, out / "pool.txt")
    config: dict[str, Any] = {
        "name": "starter",
        "text": "pool.txt",
        "corpus": {"validation_percent": round(percent, 3)},
    }
    config |= RECIPE | {"train": {**RECIPE["train"], **(LATER if base else {}), "steps": steps}}
    if base:
        config["model"] = {"base": str(base.absolute()), "quantise": "none"}
        del config["tokenizer"]
    (out / "starter.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-P", "-c", "from textmill.cli import main; main()", "train", "--config"]
    subprocess.run([*command, str(out / "starter.yaml"), "--out", str(out)], check=True)
    return out / "model"


def pack(model: Path, into: Path, card: str = "") -> None:
    """Write a bundle's weights in float16, with its tokenizer and a card, to a folder; what was there is replaced."""
    read = checkpoint.read(model)
    assert read.tokenizer is not None  # every bundle has one
    into.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{into.name}.", dir=into.parent) as folder:
        made = Path(folder) / into.name
        checkpoint.write_hugging_face(made, read.weights, read.architecture, read.tokenizer)
        halves = {name: np.asarray(tensor, np.float16) for name, tensor in read.weights.items()}
        save_file(halves, made / hugging_face.WEIGHTS, metadata={"format": "pt"})
        if card or (into / "README.md").exists():
            (made / "README.md").write_text(card or (into / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
        if into.exists():
            into.replace(Path(folder) / "former")
        made.replace(into)


def main() -> None:
    """Train and pack."""
    parser = argparse.ArgumentParser(description="Train a small model to start from.")
    parser.add_argument("--pool", type=Path, required=True, help="the folder that build_pool.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the training")
    parser.add_argument("--into", type=Path, help="the folder for the base; OUT/starter if left out")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimiser steps ({STEPS})")
    parser.add_argument("--base", type=Path, help="a folder that this made before, to go on from")
    asked = parser.parse_args()
    into = asked.into or asked.out / "starter"
    pack(train(asked.pool, asked.out, asked.steps, asked.base), into)
    print(f"The base is in {into}; to start from it: model: {{base: {into}}}")


if __name__ == "__main__":
    main()
