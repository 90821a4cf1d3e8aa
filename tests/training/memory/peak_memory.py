"""What a training step takes at its peak, by a process that does nothing else: `python peak_memory.py BATCH RECOMPUTE`.

It prints one JSON object: `bytes`, by which the resident memory's peak grew from before the first step to after it, and
the `losses` of three steps. Freed memory plays no part: the process has freed nothing yet.
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
WIDE = {"vocabulary": 512, "window": 256, "layers": 1, "heads": 8, "width": 128}


def _peak() -> int:
    # not ru_maxrss, in which a child begins with its parent's
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def measure(shape: dict[str, int], settings: Train, batch: int) -> dict[str, object]:
    """The bytes that the first step adds at its peak, compiling included, and the losses of three steps."""
    architecture = Architecture(**shape)
    stepper = TrainingStep(keras_model.build(architecture, settings.dropout), settings)
    windows = np.arange(batch * architecture.window, dtype=np.int32).reshape(batch, -1) % architecture.vocabulary
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = _peak()
    losses = [stepper.train(0, windows, windows)[0]]
    grown = _peak() - before
    return {"bytes": grown, "losses": losses + [stepper.train(step, windows, windows)[0] for step in (1, 2)]}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(measure(given["shape"], Train(**given["train"]), given["batch"])))
