import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("distributed_training.py")


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_four_devices_come_to_what_one_comes_to(backend: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, backend], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for kind in ("full", "low_rank"):
        assert found[kind]["moved"] > 1e-3
        for figure in ("loss_and_norm", "weights", "held_out", "next_logits"):
            assert found[kind][figure] < 2e-5, (kind, figure)
        assert found[kind]["restored"] == 0
    assert "4 devices cannot share 6 windows" in found["odd_batch"]
    assert "this machine has 4" in found["too_many"]
