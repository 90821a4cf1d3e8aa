"""What a training step takes at its peak, by a process that does nothing else: `python peak_memory.py JSON`.

It prints one JSON object:

- `bytes`: the state, and by how much the second step's peak exceeds what the process held before it;
- `first`: by how much the first step's peak exceeds what the process held before the model was built: compiling included;
- `losses` of three steps.
"""

import json
import sys
from pathlib import Path

import numpy as np

from textmill.gpt2.architecture import Architecture
from textmill.settings.training import Train
from textmill.training.step import keras_model
from textmill.training.step.training_step import TrainingStep

NARROW = {"vocabulary": 64, "window": 128, "layers": 3, "heads": 8, "width": 64}
MEDIUM = {"vocabulary": 4096, "window": 128, "layers": 4, "heads": 6, "width": 384}


def _now(name: str) -> int:
    """A figure of this process in bytes: VmHWM, the peak, or VmRSS."""
    # not ru_maxrss, in which a child begins with its parent's
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def _count_peak_anew() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure(shape: dict[str, int], settings: Train, batch: int) -> dict[str, object]:
    """The bytes of the first step, compiling included, and of the second; and the losses of three."""
    architecture = Architecture(**shape)
    empty = _now("VmRSS")
    stepper = TrainingStep(keras_model.build(architecture, settings.dropout), settings)
    rows = batch * settings.accumulate
    windows = np.arange(rows * architecture.window, dtype=np.int32).reshape(rows, -1) % architecture.vocabulary
    _count_peak_anew()
    losses = [stepper.train(0, windows, windows)[0]]
    first = _now("VmHWM") - empty
    before = _now("VmRSS")
    _count_peak_anew()
    losses.append(stepper.train(1, windows, windows)[0])
    grown = _now("VmHWM") - before
    losses.append(stepper.train(2, windows, windows)[0])
    frozen = 4 * architecture.parameters if settings.lora_rank else 0
    return {"bytes": grown + frozen + _bytes(stepper.state()), "first": first, "losses": losses}


def _bytes(state: dict[str, np.ndarray]) -> int:
    return sum(each.nbytes for each in state.values())


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(measure(given["shape"], Train(**{**given["train"], "batch": given["batch"]}), given["batch"])))
