"""Tensors as rows and columns, and the rectangles of them in which they are made.

A tensor of any shape is seen as rows and columns, (prod(shape[:-1]), shape[-1]); blocks are rectangles of that view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.dtypes import DType

BLOCK_ELEMENTS = 1 << 18
"""Elements in a block. A constant of the engine: block boundaries depend on nothing but the plan."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Element type and shape of a tensor."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size of the stored tensor in bytes."""
        return self.elements * self.dtype.itemsize

    @property
    def columns(self) -> int:
        """Columns of the two-dimensional view: the last dimension, 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Rows of the two-dimensional view: the product of all other dimensions."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the two-dimensional view: rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the rectangle."""
        return self.bottom - self.top, self.right - self.left

    @property
    def elements(self) -> int:
        """Number of elements in the rectangle."""
        return (self.bottom - self.top) * (self.right - self.left)


def whole(spec: Spec) -> Region:
    """The rectangle that is all of a tensor."""
    return Region(0, spec.rows, 0, spec.columns)


class Access(Enum):
    """Which part of an input one block of the output needs."""

    BLOCK = "block"  # the same rectangle
    ROWS = "rows"  # the same rows, every column
    COLUMNS = "columns"  # every row, the same columns
    ACROSS = "across"  # every row, and the columns that are numbered as the block's rows are
    BESIDE = "beside"  # the rows that are numbered as the block's columns are, every column
    ALL = "all"  # the whole tensor
    PACKED = "packed"  # the same rows, eight columns for each of the block
    BITS = "bits"  # the same rows, one column for each eight of the block
    AMONG = "among"  # the same rows, every column, few of which the block may have

    __hash__ = object.__hash__  # as that of `DType`

    def region(self, block: Region, spec: Spec) -> Region:
        """The rectangle of an input of this `spec` that the output's `block` needs."""
        match self:
            case Access.BLOCK:
                found = block
            case Access.ROWS | Access.AMONG:
                found = Region(block.top, block.bottom, 0, spec.columns)
            case Access.COLUMNS:
                found = Region(0, spec.rows, block.left, block.right)
            case Access.ACROSS:
                found = Region(0, spec.rows, block.top, block.bottom)
            case Access.BESIDE:
                found = Region(block.left, block.right, 0, spec.columns)
            case Access.ALL:
                found = Region(0, spec.rows, 0, spec.columns)
            case Access.PACKED:
                found = Region(block.top, block.bottom, block.left * 8, min(block.right * 8, spec.columns))
            case Access.BITS:
                found = Region(block.top, block.bottom, block.left // 8, -(-block.right // 8))
        return found

    @property
    def stays(self) -> bool:
        """Whether the part is the same for all blocks that share their columns, so that it is worth keeping."""
        return self in {Access.COLUMNS, Access.BESIDE, Access.ALL}


def blocks(spec: Spec, *, whole_rows: bool = False, elements: int = BLOCK_ELEMENTS) -> Iterator[Region]:
    """Cut a tensor into rectangles of about so many elements, in row-major order.

    Rows that are longer than a block are cut into columns unless `whole_rows`; all blocks of a row come together, so
    that concatenating the blocks of a tensor whose rows are not cut gives its bytes.
    """
    rows, columns = spec.rows, spec.columns
    if rows == 0 or columns == 0:
        return
    width = columns if whole_rows else min(columns, elements)
    height = max(1, elements // width) if width == columns else 1
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield Region(top, min(top + height, rows), left, min(left + width, columns))


def block_height(spec: Spec) -> int:
    """Rows of a block of whole rows."""
    return max(1, BLOCK_ELEMENTS // max(spec.columns, 1))
