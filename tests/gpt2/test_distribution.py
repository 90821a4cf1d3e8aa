import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("distributed_training.py")


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_come_to_what_one_comes_to(backend: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, backend], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # float16 has 11 bits
    for kind, close in (("full", 2e-5), ("low_rank", 2e-4)):
        differences = found[kind]
        assert differences.pop("moved") > 1e-3
        assert differences.pop("restored") == 0
        assert max(differences.values()) < close, differences
    assert found["overflowed"] == [0, 2**39, True]
    assert "2 devices cannot share 3 windows" in found["odd_batch"]
    assert "this machine has 2" in found["too_many"]
    if backend == "jax":
        assert 0 < found["bfloat16"] < 0.05
        assert found["attention"] < 1e-6
        assert found["chunked_loss"] < 1e-4
        assert found["recomputed"] < 0.7
