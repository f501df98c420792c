"""Magnitudes as integers that can be counted: the bits of |x| rounded to fp32, 31 of them, which grow with |x|.

Two scans find any order statistic of a tensor: one counts the upper 16 bits, one the lower 15 inside a bucket.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from brickctl.tensors.kernels import Scan

LOW_BITS = 15
HIGH_COUNT, LOW_COUNT = 1 << 16, 1 << LOW_BITS
FIRST_INFINITE = 0x7F800000 >> LOW_BITS
"""Buckets from here on hold infinity and NaN."""
LARGEST_KEY = 0x7FFFFFFF


def keys_of(block: Tensor) -> Tensor:
    """The keys of a block, as one row of integers; overwrites nothing."""
    import torch

    return block.to(torch.float32).abs_().view(torch.int32).view(-1)


def value_of(key: int) -> float:
    """The magnitude that a key stands for."""
    number: float = struct.unpack("<f", struct.pack("<I", key))[0]
    return number


def count_high(scan: Scan) -> tuple[Tensor, int]:
    """How often each value of the upper bits occurs, and how often the key 0 does."""
    import torch

    high, zeros = torch.zeros(HIGH_COUNT, dtype=torch.int64), 0
    for (block,), _ in scan():
        keys = keys_of(block)
        high += torch.bincount(keys >> LOW_BITS, minlength=HIGH_COUNT)
        zeros += len(keys) - int(keys.count_nonzero())
    return high, zeros
