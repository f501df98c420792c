"""Parts of blocks: so small that what a kernel takes for itself lies in the cache, and that its memory is not fresh.

A tensor of the size of a whole block is memory that the system hands out and takes back each time, page by page: that
costs several times the arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.tensors.exact import sum_along

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

STRIP_ELEMENTS = 1 << 16
"""Elements in a part. A constant of the engine: sums depend on it."""


def in_strips(*blocks: Tensor, size: int = STRIP_ELEMENTS) -> Iterator[Sequence[Tensor]]:
    """The same elements of several blocks of one shape, part by part, each as one row; they share their memory."""
    flat = [block.view(-1) for block in blocks]
    for begin in range(0, flat[0].shape[0], size):
        yield [row[begin : begin + size] for row in flat]


_LANES = 1 << 10
"""Sums that are kept apart until the end. A constant of the engine: sums depend on it."""


class Total:
    """The sum of many fp64 numbers, with the same bits on every CPU.

    Number i of each strip is added to lane i, strip after strip, and in the end the lanes as a binary tree: one
    addition a number, and no more calls than strips.
    """

    def __init__(self) -> None:
        import torch

        self._lanes = torch.zeros(STRIP_ELEMENTS, dtype=torch.float64)

    @property
    def address(self) -> int:
        """Where the lanes lie: fp64, so many as a strip has elements."""
        return self._lanes.data_ptr()

    def add(self, strip: Tensor) -> None:
        """Add the numbers of one strip, a row."""
        self._lanes[: strip.shape[0]].add_(strip)

    def value(self) -> float:
        """The sum."""
        return float(total_of(self._lanes.clone()))


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
