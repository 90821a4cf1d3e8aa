"""Fine-tuning GPT-2 124M on CPUs: Textmill beside gpt-2-simple and nanoGPT.

    python benchmarks/training.py --nanogpt FOLDER

Window 256, batch 1, float32, dropout 0. The last line is JSON: how many times as many tokens per second ours trains on
(`vs_gpt2_simple`, `vs_nanogpt`), and its share of the machine's fastest matrix product (`of_matmul_peak`).
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import peers
from cpu import last_line
from peers import Contestant

WINDOW = 256
SIZES = {
    "124M": {"vocabulary": 50257, "window": 1024, "layers": 12, "heads": 12, "width": 768},
    "quick": {"vocabulary": 512, "window": 256, "layers": 2, "heads": 2, "width": 64},
}
TRAIN = {
    "steps": 1000,
    "batch": 1,
    "optimiser": "adamw",
    "learning_rate": 1e-4,
    "final_learning_rate": 1e-5,
    "warmup_steps": 10,
    "weight_decay": 0.1,
    "beta_2": 0.99,
    "clip_norm": 1.0,
}
OURS, SIMPLE, NANO = "Textmill", "gpt-2-simple", "nanoGPT"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, required=True, help="folder of nanoGPT's model.py")
    parser.add_argument("--peers", type=Path, default=peers.PEERS, help="Python that has torch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3, help="in each round")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that all of this runs")
    asked = parser.parse_args()
    peers.need(asked.nanogpt / "model.py", "name the folder of a clone of github.com/karpathy/nanoGPT.")
    peers.need(asked.peers, "run 'make peers' first.")
    print(f"{peers.machine()}\n")
    size = SIZES["quick" if asked.quick else "124M"]
    rounds, steps = (2, 2) if asked.quick else (asked.rounds, asked.steps)
    race(size, asked.nanogpt, asked.peers, rounds, steps)


def race(size: dict[str, int], nanogpt: Path, python: Path, rounds: int, steps: int) -> None:
    """Time the three, print what came of it."""
    text = {"batch": 1, "window": WINDOW, "seed": 1, "vocabulary": size["vocabulary"]}
    theirs = {
        "block_size": size["window"],
        "vocab_size": size["vocabulary"],
        "n_layer": size["layers"],
        "n_head": size["heads"],
        "n_embd": size["width"],
        "dropout": 0.0,
        "bias": True,  # as OpenAI's weights have it
    }
    with (
        Contestant(OURS, "textmill_steps.py", text=text, model=size, train=TRAIN) as ours,
        Contestant(SIMPLE, "gpt_2_simple_steps.py", text=text, model=size, train=TRAIN) as simple,
        Contestant(
            NANO, "nanogpt_steps.py", python, text=text, model=theirs, train=TRAIN, nanogpt=f"{nanogpt}"
        ) as nano,
    ):
        contestants = [ours, simple, nano]
        peers.take_turns(contestants, rounds=1, steps=3)  # compile and warm up
        seconds = peers.take_turns(contestants, rounds, steps)
        memory = {each.name: each.ask("memory") for each in contestants}
    peak = matmul_peak()
    rates = {name: flops(size) / statistics.median(each) for name, each in seconds.items()}
    peers.report(
        [
            {
                "124M, window 256, batch 1" if size is SIZES["124M"] else "a tiny model": name,
                "ms a step: median (least to most)": peers.milliseconds(each),
                "tokens/s": f"{WINDOW / statistics.median(each):,.0f}",
                "of the matmul peak": f"{rates[name] / peak:.0%}",
                "peak memory, GB": f"{memory[name] / 1e9:.2f}",
            }
            for name, each in seconds.items()
        ]
    )
    print(f"A step's matrix products: {flops(size) / 1e9:.1f} GFLOP; the machine's peak: {peak / 1e9:.0f} GFLOP/s.\n")
    result = {
        "vs_gpt2_simple": round(peers.ratio(seconds, OURS, SIMPLE), 3),
        "vs_nanogpt": round(peers.ratio(seconds, OURS, NANO), 3),
        "of_matmul_peak": round(rates[OURS] / peak, 3),
        "memory_vs_gpt2_simple": round(memory[OURS] / memory[SIMPLE], 3),
    }
    last_line(result)


def flops(size: dict[str, int]) -> float:
    """Of the matrix products of one step, forward and backward; attention counts in full."""
    width, layers = size["width"], size["layers"]
    matrices = 12 * layers * width**2 + size["vocabulary"] * width  # the embedding is the output matrix too
    attention = 12 * layers * WINDOW * width  # each token: queries by keys and weights by values, thrice
    return (6.0 * matrices + attention) * WINDOW


def matmul_peak() -> float:
    """FLOP/s of a product of two float32 matrices of 2048 by 2048, numpy's, at its best of ten."""
    a = np.ones((2048, 2048), np.float32)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


if __name__ == "__main__":
    main()
