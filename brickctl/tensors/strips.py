"""Parts of blocks: so small that what a kernel takes for itself lies in the cache, and that its memory is not fresh.

A tensor of the size of a whole block is memory that the system hands out and takes back each time, page by page: that
costs several times the arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from brickctl.tensors.exact import sum_along

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from brickctl.tensors.arrays import Array

_Block = TypeVar("_Block", "Tensor", "Array")

STRIP_ELEMENTS = 1 << 16
"""Elements in a part. A constant of the engine: sums depend on it."""


def in_strips(*blocks: _Block, size: int = STRIP_ELEMENTS) -> Iterator[Sequence[_Block]]:
    """The same elements of several blocks of one shape, part by part, each as one row; they share their memory."""
    flat = [block.reshape(-1) for block in blocks]
    for begin in range(0, flat[0].shape[0], size):
        yield [row[begin : begin + size] for row in flat]


_LANES = 1 << 10
"""Terms down to which a block is folded. A constant of the engine: sums depend on it."""

SUMS = 1 << 12
"""Sums that a total keeps apart until the end. A constant of the engine: sums depend on it."""


class Total:
    """The sum of many fp64 numbers, with the same bits on every CPU.

    Number i of each block is added to sum i % `SUMS`, block after block, and in the end the sums as a binary tree. They
    lie in the cache, also if several totals are made at once.
    """

    def __init__(self) -> None:
        import numpy as np

        self._sums = np.zeros(SUMS)

    @property
    def address(self) -> int:
        """Where the sums lie."""
        return int(self._sums.ctypes.data)

    def add(self, strip: Tensor | Array) -> None:
        """Add the numbers of one strip, a row; each but the last of a block has a multiple of `SUMS`."""
        import numpy as np

        numbers = np.asarray(strip)
        for begin in range(0, len(numbers), SUMS):
            part = numbers[begin : begin + SUMS]
            self._sums[: len(part)] += part

    def value(self) -> float:
        """The sum."""
        return float(tree_sum(self._sums)[0])


def tree_sum(terms: Array) -> Array:
    """Sum along the first dimension, added as a binary tree; the dimension stays."""
    import numpy as np

    while (size := len(terms)) > 1:
        half = size // 2
        pairs = terms[:half] + terms[half : 2 * half]
        terms = np.concatenate([pairs, terms[2 * half :]]) if size % 2 else pairs
    return terms


def _fold(terms: Tensor) -> Tensor:
    """Add the second half of a row to its first, and again, until no more than the lanes are left; overwrites it."""
    size = len(terms)
    while size > _LANES:
        half = -(-size // 2)
        terms[: size - half].add_(terms[half:size])
        size = half
    return terms[:size]


def total_of(terms: Tensor) -> Tensor:
    """The sum of all elements of a block, added as a binary tree; overwrites it."""
    return sum_along(_fold(terms.view(-1)).view(1, -1), dim=1)[0, 0]
