"""Sorting out magnitudes: which of their keys lie in a bracket, and how many above it; where they come from or later.

Keys are those of `magnitudes`. The machine does it while a block is made, chunk by chunk, or to a block that is there.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from brickctl.tensors.fused.machine import machine
from brickctl.tensors.magnitudes import LARGEST_KEY

Bracket = tuple[int, int]
"""The smallest key and the largest."""


class SortedOut(NamedTuple):
    """What is known of some keys: those in a bracket, how many lie above and how many are not 0, and the largest."""

    keys: Any
    above: int
    nonzero: int
    largest: int


class _Bracket(ctypes.Structure):
    """As in machine.c."""

    _fields_ = (
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
        ("keys", ctypes.c_void_p),
        ("noted", ctypes.c_int64),
        ("above", ctypes.c_int64),
        ("nonzero", ctypes.c_int64),
        ("largest", ctypes.c_int64),
    )


class Sorter:
    """What the machine fills while it goes over a block.

    Args:
        bracket: the keys that are noted; None for none.
        most: elements of a block.
    """

    def __init__(self, bracket: Bracket | None, most: int) -> None:
        import numpy as np

        self._keys = np.empty(most + 1, dtype=np.int32)
        self._found = _Bracket(*(bracket or (LARGEST_KEY, 0)), self._keys.ctypes.data)

    @property
    def address(self) -> int:
        """Where it lies."""
        return ctypes.addressof(self._found)

    def take(self) -> SortedOut:
        """What was found since the last time; the keys are gone when the machine goes on."""
        found = self._found
        taken = SortedOut(self._keys[: found.noted], found.above, found.nonzero, found.largest)
        found.noted = found.above = found.nonzero = found.largest = 0
        return taken


def sort_out(bits: Any, bracket: Bracket) -> SortedOut:
    """Sort out the numbers of a block, fp32 seen as int32, which may be overwritten."""
    import numpy as np

    found = machine()
    if found is not None:
        sorter = Sorter(bracket, bits.size)
        found.fused_sort_out(sorter.address, bits.ctypes.data, bits.size)
        return sorter.take()
    low, high = bracket
    bits &= LARGEST_KEY
    above = bits > high
    between = bits[(bits >= low) & ~above]
    return SortedOut(between, int(np.count_nonzero(above)), int(np.count_nonzero(bits)), int(bits.max()))
