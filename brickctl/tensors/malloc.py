"""The C library's allocator: told to keep what kernels free for themselves, since they ask for the same again at once.

glibc gives pieces of 128 KiB and more back to the system whenever they are freed, and the system hands out zeroed pages
the next time: for a block of fp64 that takes longer than most arithmetic on it.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # from malloc.h
_LARGEST = 32 << 20  # glibc allows no more; what is larger goes back to the system
_NO_BLOCK = 4 << 20  # twice a block of fp64


def keep_freed_memory(*, beside_matrices: bool = False) -> None:
    """Raise both thresholds of glibc; other C libraries are left as they are.

    Beside whole matrices only what blocks ask for is kept: holes that matrices left between others would stay, as much
    as one or two of them, and a new page costs nothing beside what is done to a matrix.
    """
    adjust = _of_glibc("mallopt")
    if adjust is not None:
        adjust(_MMAP_THRESHOLD, _NO_BLOCK if beside_matrices else _LARGEST)
        adjust(_TRIM_THRESHOLD, 4 * _LARGEST)


def release_freed_memory() -> None:
    """Give what was kept back to the system, before whole matrices need more than all blocks together."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """A function of the C library, or None."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
