"""Magnitudes as integers that can be counted: the bits of |x| rounded to fp32, 31 of them, which grow with |x|.

Two scans find any order statistic of a tensor: one counts the upper 16 bits, one the lower 15 inside a bucket. Keys are
NumPy arrays: it compares, selects and counts them in a fraction of the time that torch takes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brickctl.tensors.kernels import Scan

LOW_BITS = 15
HIGH_COUNT, LOW_COUNT = 1 << 16, 1 << LOW_BITS
INFINITE = 0x7F800000
"""Keys from here on are those of infinity and NaN."""
FIRST_INFINITE = INFINITE >> LOW_BITS
"""Buckets from here on hold infinity and NaN."""
LARGEST_KEY = 0x7FFFFFFF


class Keys:
    """Makes the keys of one block after another, in memory that is taken once."""

    def __init__(self) -> None:
        import numpy as np

        self._memory = np.empty(0, dtype=np.float32)

    def of(self, block: Any) -> Any:
        """The keys of a block, row by row, as one array of int32, which is gone at the next block.

        A block of fp32 is overwritten.
        """
        keys = self.bits(block)
        keys &= LARGEST_KEY
        return keys

    def bits(self, block: Any) -> Any:
        """The same with the bit of the sign."""
        import numpy as np

        if block.dtype == np.float32 and block.flags.c_contiguous:
            return block.reshape(-1).view(np.int32)
        if self._memory.size < block.size:
            self._memory = np.empty(block.size, dtype=np.float32)
        rounded = self._memory[: block.size]
        rounded.reshape(block.shape)[...] = block
        return rounded.view(np.int32)


def value_of(key: int) -> float:
    """The magnitude that a key stands for."""
    number: float = struct.unpack("<f", struct.pack("<I", key))[0]
    return number


def count_high(scan: Scan) -> tuple[Any, int]:
    """How often each value of the upper bits occurs, and how many keys are not 0."""
    import numpy as np

    high, nonzero, made = np.zeros(HIGH_COUNT, dtype=np.int64), 0, Keys()
    for (block,), _ in scan():
        keys = made.of(block)
        nonzero += int(np.count_nonzero(keys))
        keys >>= LOW_BITS
        high += np.bincount(keys, minlength=HIGH_COUNT)
    return high, nonzero


def count_low(scan: Scan, buckets: list[int]) -> dict[int, Any]:
    """For each of these values of the upper bits, how often each value of the lower bits occurs beside it."""
    import numpy as np

    made = Keys()
    low = {bucket: np.zeros(LOW_COUNT, dtype=np.int64) for bucket in buckets}
    for (block,), _ in scan():
        keys = made.of(block)
        for bucket in low:
            low[bucket] += np.bincount(keys[keys >> LOW_BITS == bucket] & (LOW_COUNT - 1), minlength=LOW_COUNT)
    return low
