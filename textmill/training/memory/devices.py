"""The memory of this machine's devices for a training."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from textmill.settings.training import Train

_CGROUP = Path("/sys/fs/cgroup")
# bytes of RAM that compiling takes at its peak, measured
_COMPILER, _COMPILER_OF_A_LAYER = 350_000_000, 40_000_000
_OF_A_GPU = 0.92  # the rest is CUDA's own, and what falls between allocations


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices of a training."""

    count: int
    free: int  # bytes, on each
    halves: bool = True  # whether half precision takes half the memory; XLA widens it to float32 on CPUs


def devices_of(settings: Train, layers: int) -> Devices:
    """The devices for a training of so many layers. Keras must be imported with its backend.

    On CPUs, what XLA takes to compile is left out of the free memory.
    A GPU counts with its whole memory, even if in use: TensorFlow and JAX allocate all of it at start.
    """
    gpus = _jax_gpus() if settings.backend == "jax" else _tensorflow_gpus()
    wanted = settings.devices
    if gpus:
        count = len(gpus) if wanted == "all" else wanted
        free = min(gpus[:count])
    else:
        count = 1 if wanted == "all" else wanted
        free = max(0, free_memory() - _COMPILER - layers * _COMPILER_OF_A_LAYER) // count
    return Devices(count, int(settings.memory * 1e9) if settings.memory else free, halves=bool(gpus))


def _tensorflow_gpus() -> list[int]:
    """The memory of each GPU visible to TensorFlow, in bytes."""
    import tensorflow as tf

    seen = tf.config.list_physical_devices("GPU")
    if not seen:
        return []
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    return gpu_sizes(said, os.environ.get("CUDA_VISIBLE_DEVICES"))[: len(seen)]


def gpu_sizes(said: str, visible: str | None) -> list[int]:
    """The usable bytes of the visible GPUs, from nvidia-smi's lines of index, UUID and MiB."""
    rows = [[part.strip() for part in line.split(",")] for line in said.splitlines() if line.count(",") == 2]
    chosen = rows
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip()]
        chosen = [row for name in names for row in rows if row[0] == name or row[1].startswith(name)]
    return [int(int(row[2]) * (1 << 20) * _OF_A_GPU) for row in chosen if row[2].isdigit()]


def _jax_gpus() -> list[int]:
    """The bytes that JAX may allocate on each GPU."""
    import jax

    found = [device.memory_stats() for device in jax.local_devices() if device.platform == "gpu"]
    return [int(stats["bytes_limit"]) for stats in found if stats and "bytes_limit" in stats]


def free_memory(groups: Path = _CGROUP, mine: Path = Path("/proc/self/cgroup")) -> int:
    """The RAM that this process can still allocate, in bytes: free memory, or the rest of its cgroups' limits."""
    return min([psutil.virtual_memory().available, *_left_by_groups(groups, mine)])


def _left_by_groups(groups: Path, mine: Path) -> list[int]:
    """The remaining bytes of each limited cgroup, from this process's own to the root; versions 2 and 1."""
    left = []
    for line in mine.read_text().splitlines() if mine.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used = groups, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root, limit, used = groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = root / path.strip("/")
        for group in (folder, *folder.parents):
            if (group / limit).exists() and (most := (group / limit).read_text().strip()) != "max":
                left.append(int(most) - int((group / used).read_text()) + _file_cache(group))
            if group == root:
                break
    return left


def _file_cache(group: Path) -> int:
    """Reclaimable bytes of a cgroup's usage: inactive file pages."""
    path = group / "memory.stat"
    rows = dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}
    return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))
