import os
import subprocess
import sys

import pytest

from textmill.training.memory import malloc

# in a process of its own: these settings hold for all of it
PROGRAM = """
import ctypes, resource
from textmill.training.memory import malloc

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: no huge pages, whatever this system gives by itself
SIZE = 64 << 20  # bytes: 16,384 pages

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b"x" * SIZE  # freed at once; numpy would ask for huge pages itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

malloc.keep_freed_memory()
faults()
held = faults()
malloc.give_freed_memory_back()
print(held, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what it sets is Linux's")
def test_freed_memory_is_used_again_without_new_pages_until_it_is_given_back() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    held, given_back = map(int, found.stdout.split())
    assert held < 1000 < 20_000 < given_back


ALIGNED = """
import ctypes, resource
from textmill.training.memory import malloc

SIZE = 64 << 20
libc = ctypes.CDLL(None)
libc.aligned_alloc.restype = libc.malloc.restype = ctypes.c_void_p
libc.aligned_alloc.argtypes, libc.free.argtypes = [ctypes.c_size_t] * 2, [ctypes.c_void_p]

def use():
    block = libc.aligned_alloc(64, SIZE)
    ctypes.memset(ctypes.c_void_p(block), 1, SIZE)
    libc.free(block)
    small = [libc.malloc(size) for size in range(16, 256, 16) for _ in range(8)]
    for place in small[::2]:  # the other half stays
        libc.free(place)

malloc.keep_freed_memory()
use()
first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(50):
    use()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first) >> 10)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what it sets is Linux's")
def test_an_aligned_block_finds_its_former_place_among_small_ones() -> None:
    environment = {**os.environ, **malloc.ENVIRONMENT}
    found = subprocess.run([sys.executable, "-c", ALIGNED], capture_output=True, text=True, check=True, env=environment)
    assert int(found.stdout) < 32  # MB; a second block would be 64
