"""Training and generation of GPT-2 124M on a GPU: Textmill beside nanoGPT and transformers.

    python benchmarks/gpu.py --nanogpt FOLDER [--try='XLA FLAGS' ...]

Training: window 1024, bfloat16; Textmill on Keras's JAX backend, nanoGPT with torch.compile, flash attention and fused
AdamW. Each --try is ours once more, with these flags for XLA. Generation: 128 tokens after 32, greedy, for 1, 8 and 64
texts at once; Textmill's in float16 by ONNX Runtime as in serving, which takes the package onnxruntime-gpu,
transformers' in bfloat16. Where one of the two parts cannot run, the other's figures are printed all the same.

The last line is JSON: how many times as many tokens per second ours trains on (`vs_nanogpt`), model FLOP utilisation,
its matrix products by what the GPU can do (`mfu`), and how many times as many tokens ours writes
(`generate_N_vs_transformers`).

`--quick` runs all of this on CPUs with a tiny model, to see that it runs; its figures mean nothing.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peers
from cpu import last_line
from peers import Contestant
from training import SIZES, TRAIN

QUICK = {"vocabulary": 512, "window": 64, "layers": 2, "heads": 2, "width": 64}
OURS, NANO, FACE = "Textmill", "nanoGPT", "transformers"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, required=True, help="folder of nanoGPT's model.py")
    parser.add_argument("--peers", type=Path, default=peers.PEERS, help="Python that has torch, built for CUDA")
    parser.add_argument("--batch", type=int, default=16, help="windows in a step")
    parser.add_argument("--peak", type=float, default=989, help="the GPU's TFLOP/s in bfloat16, dense; 989: H100, H200")
    parser.add_argument("--try", dest="flags", action="append", default=[], help="flags for XLA; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a tiny model on CPUs, to see that all of this runs")
    asked = parser.parse_args()
    peers.need(asked.nanogpt / "model.py", "name the folder of a clone of github.com/karpathy/nanoGPT.")
    peers.need(asked.peers, "run 'make peers' first.")
    # both processes stay: without this, JAX takes three quarters of the GPU's memory for itself
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    print(f"{gpu()}; {peers.machine()}\n", flush=True)
    found: dict[str, Any] = {}
    failed = 0
    for part in (training, generation):
        try:
            found |= part(asked)
        except SystemExit as error:  # of a contestant; what it said is on standard error
            print(f"{part.__name__} gave no figures: {error}\n", flush=True)
            failed = 1
    last_line(found)
    return failed


def gpu() -> str:
    """The GPU's name and its driver."""
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().replace("\n", "; ")
    except (OSError, subprocess.CalledProcessError):
        return "no GPU"


def training(asked: argparse.Namespace) -> dict[str, Any]:
    """Time training, print the table."""
    size = QUICK if asked.quick else SIZES["124M"]
    batch, rounds, steps = (2, 2, 2) if asked.quick else (asked.batch, 10, 20)
    with contextlib.ExitStack() as stack:
        ours, nano, *others = (stack.enter_context(each) for each in contestants(asked, size, batch))
        racing = [ours, nano, *others]
        peers.take_turns(racing, rounds=1, steps=5)  # compile and warm up
        seconds = peers.take_turns(racing, rounds, steps)
        losses = {each.name: each.ask("sampled") for each in racing}
    tokens = batch * size["window"]
    reached = {
        name: flops_per_token(size) * tokens / statistics.median(each) / (asked.peak * 1e12)
        for name, each in seconds.items()
    }
    peers.report(
        [
            {
                f"training, window {size['window']}, batch {batch}": name,
                "ms a step: median (least to most)": peers.milliseconds(each),
                "tokens/s": f"{tokens / statistics.median(each):,.0f}",
                "model FLOP utilisation": f"{reached[name]:.1%}",
                "held-out loss": f"{losses[name]:.3f}",  # random tokens: near the logarithm of their number
            }
            for name, each in seconds.items()
        ]
    )
    return {
        "vs_nanogpt": round(peers.ratio(seconds, OURS, NANO), 3),
        "mfu": round(reached[OURS], 4),
        "nanogpt_mfu": round(reached[NANO], 4),
        **{f"{each.name} vs_nanogpt": round(peers.ratio(seconds, each.name, NANO), 3) for each in others},
    }


def contestants(asked: argparse.Namespace, size: dict[str, int], batch: int) -> Iterator[Contestant]:
    """Ours and nanoGPT, then ours with other flags, where XLA takes them."""
    text = {"batch": batch, "window": size["window"], "seed": 1, "vocabulary": size["vocabulary"]}
    train = {**TRAIN, "batch": batch}
    own = {"text": text, "model": size, "train": {**train, "backend": "jax", "precision": "bfloat16"}}
    yield Contestant(OURS, "textmill_steps.py", **own)
    device = {"device": "cpu" if asked.quick else "cuda", "compiled": not asked.quick}
    model = {
        "block_size": size["window"],
        "vocab_size": size["vocabulary"] if asked.quick else 50304,  # its own default, "rounded up for efficiency"
        "n_layer": size["layers"],
        "n_head": size["heads"],
        "n_embd": size["width"],
        "dropout": 0.0,
        "bias": False,  # as its README's 124M
    }
    nanogpt = {"text": text, "model": model, "train": train, "nanogpt": f"{asked.nanogpt.resolve()}", **device}
    yield Contestant(NANO, "nanogpt_steps.py", asked.peers, **nanogpt)
    before = os.environ.get("XLA_FLAGS", "")
    for flags in asked.flags:
        os.environ["XLA_FLAGS"] = f"{before} {flags}"
        try:
            yield Contestant(f"{OURS}, {flags}", "textmill_steps.py", **own)
        except SystemExit as error:
            print(f"{flags} is left out: {error}\n", flush=True)
    os.environ["XLA_FLAGS"] = before


def flops_per_token(size: dict[str, int]) -> float:
    """As nanoGPT counts them (PaLM, appendix B): six for each weight, positions left out, and attention in full."""
    width, layers = size["width"], size["layers"]
    return 6.0 * (12 * layers * width**2 + size["vocabulary"] * width) + 12 * layers * width * size["window"]


def generation(asked: argparse.Namespace) -> dict[str, Any]:
    """Time generation, print the table."""
    size = QUICK if asked.quick else SIZES["124M"]
    batches, rounds = ([1, 2], 1) if asked.quick else ([1, 8, 64], 5)
    lengths = {"prompt": 8, "tokens": 8} if asked.quick else {"prompt": 32, "tokens": 128}
    device = "cpu" if asked.quick else "cuda"
    place = {"device": device, "precision": "float32" if asked.quick else "float16"}
    rates: dict[str, dict[int, float]] = {OURS: {}, FACE: {}}
    with (
        Contestant(OURS, "textmill_generate.py", model=size, batches=batches, **place) as ours,
        Contestant(FACE, "transformers_generate.py", asked.peers, model=size, device=device) as face,
    ):
        for batch in batches:
            seconds: dict[str, list[float]] = {OURS: [], FACE: []}
            for number in range(rounds + 1):
                for each in (ours, face):
                    taken = each.ask("write", batch=batch, **lengths)
                    if number:  # the first warms up
                        seconds[each.name].append(taken)
            for name, each_round in seconds.items():
                rates[name][batch] = batch * lengths["tokens"] / statistics.median(each_round)
    peers.report(
        [
            {"generation": name, **{f"{batch} at once, tokens/s": f"{rate:,.0f}" for batch, rate in found.items()}}
            for name, found in rates.items()
        ]
    )
    return {f"generate_{batch}_vs_transformers": round(rates[OURS][batch] / rates[FACE][batch], 3) for batch in batches}


if __name__ == "__main__":
    sys.exit(main())
