"""A training's memory beside its estimate: twelve settings, each in a process of its own.

    python benchmarks/memory.py [--layers N] [--width N] [--window N] [--vocabulary N]

`step` is the state and what the second step's peak adds to what the process held before it. `compiling` is the first
step's peak less the estimate: XLA compiles then. The last line is JSON: the lowest and the highest ratio of estimate to
step (`lowest`, `highest`), and the most that compiling took (`compiling_mb`).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import peers
from cpu import last_line

from textmill.gpt2.architecture import Architecture
from textmill.settings.training import Train
from textmill.training.memory import estimate, malloc
from textmill.training.memory.devices import Devices

CHILD = Path(__file__).resolve().parents[1] / "tests/training/memory/peak_memory.py"
COMMON = {"batch": 16, "dropout": 0.0, "optimiser": "adamw"}
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"dropout": 0.1},
    {"batch": 2},
    {"batch": 32},
    {"batch": 4, "accumulate": 4},
    {"batch": 4, "accumulate": 4, "dropout": 0.1},
    {"recompute": True},
    {"recompute": True, "dropout": 0.1, "batch": 32},
    {"average": 0.97},
    {"optimiser": "muon"},
    {"lora_rank": 8},
    {"lora_rank": 8, "recompute": True, "dropout": 0.1},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 4), ("heads", 6), ("width", 384), ("window", 128), ("vocabulary", 4096)):
        parser.add_argument(f"--{name}", type=int, default=default)
    shape = vars(parser.parse_args())
    print(f"{peers.machine()}\n\n| settings | estimate | step | ratio | compiling |\n|---|---|---|---|---|")
    rows = [measured(shape, {**COMMON, **each}, each) for each in SETTINGS]
    ratios, compiling = [ratio for ratio, _ in rows], [extra for _, extra in rows]
    last_line({"lowest": min(ratios), "highest": max(ratios), "compiling_mb": max(compiling)})


def measured(shape: dict[str, int], train: dict[str, Any], shown: dict[str, Any]) -> tuple[float, int]:
    """The ratio of estimate to step, and the megabytes of compiling; a row is printed."""
    found = estimate.estimate(Architecture(**shape), Train(**train), train["batch"], Devices(1, 0, halves=False))
    needed = found.state + found.activations
    taken = step(shape, train)
    ratio, compiling = round(needed / taken["bytes"], 3), round((taken["first"] - needed) / 1e6)
    name = ", ".join(f"{key}: {value}" for key, value in shown.items()) or "-"
    print(f"| {name} | {needed / 1e6:.0f} MB | {taken['bytes'] / 1e6:.0f} MB | {ratio} | {compiling} MB |", flush=True)
    return ratio, compiling


def step(shape: dict[str, int], train: dict[str, Any]) -> dict[str, Any]:
    """What the process of one setting prints."""
    given = json.dumps({"shape": shape, "train": train, "batch": train["batch"]})
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **malloc.ENVIRONMENT}
    ran = subprocess.run(
        [sys.executable, str(CHILD), given], capture_output=True, text=True, check=True, env=environment
    )
    return dict(json.loads(ran.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
