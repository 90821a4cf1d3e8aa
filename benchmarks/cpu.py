"""The CPU's kind, which decides a benchmark's ratio as much as the code does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KINDS = (  # the widest first, by the names that Linux gives their features
    ("AVX-512 BF16", "avx512_bf16"),
    ("AVX-512 VNNI", "avx512_vnni"),
    ("AVX-512", "avx512f"),
    ("AVX2", "avx2"),
)


def kind(file: Path = Path("/proc/cpuinfo")) -> str:
    """One of AVX-512 BF16, AVX-512 VNNI, AVX-512, AVX2; `unknown` where the system does not say."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    features = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return next((name for name, feature in _KINDS if feature in features), "unknown")


def last_line(figures: Mapping[str, Any]) -> None:
    """Print a benchmark's last line: its figures, and the kind of CPU that gave them, as one JSON object."""
    print(json.dumps({**figures, "cpu": kind()}))
