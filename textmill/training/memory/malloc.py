"""Keep freed memory in the process between training steps (Linux with glibc only).

A step's temporary memory is large, and glibc returns large blocks to the system when they are freed. The next step then
gets new pages, with one page fault and one clearing per 4 kB: 10% of a step's time for 124M.
"""

import ctypes
import sys

# malloc.h
_LARGEST_CACHED, _TRIM_THRESHOLD, _MMAP_MAX = 1, -1, -4
_LARGEST_CACHED_DEFAULT, _TRIM_THRESHOLD_DEFAULT, _MMAP_MAX_DEFAULT = 128, 128 << 10, 65536
# for a process that trains: glibc 2.35 and up read it once, when the process starts, and then ask for pages of 2 MB
# and keep no cache of small blocks for each thread
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=0"}


def keep_freed_memory() -> None:
    """Keep memory freed from now on in the process for reuse.

    Call it after the first step, so that memory for building and compiling is returned first.
    """
    if (libc := _glibc()) is None:
        return
    libc.malloc_trim(0)
    libc.mallopt(_LARGEST_CACHED, 0)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)


def give_freed_memory_back() -> None:
    """Restore glibc's default. Call it before building another model."""
    if (libc := _glibc()) is None:
        return
    libc.mallopt(_LARGEST_CACHED, _LARGEST_CACHED_DEFAULT)
    libc.mallopt(_MMAP_MAX, _MMAP_MAX_DEFAULT)
    libc.mallopt(_TRIM_THRESHOLD, _TRIM_THRESHOLD_DEFAULT)
    libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
