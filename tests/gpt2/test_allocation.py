import subprocess
import sys

import pytest

# in a process of its own: these settings hold for all of it
PROGRAM = """
import resource
from textmill.gpt2 import allocation

SIZE = 64 << 20  # bytes: 16,384 pages

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b"x" * SIZE  # freed at once; numpy would ask for huge pages itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

allocation.keep_freed_memory()
faults()
held = faults()
allocation.give_freed_memory_back()
print(held, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what it sets is Linux's")
def test_freed_memory_is_used_again_without_new_pages_until_it_is_given_back() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    held, given_back = map(int, found.stdout.split())
    assert held < 1000 < 20_000 < given_back
