"""Bits: matrices of 0 and 1, eight of them to a byte in files, one a byte where arithmetic needs them.

A packed tensor is a matrix of bytes, (rows, ceil(columns / 8)): the first of eight columns is the lowest bit of its
byte, and each row begins with a byte of its own. Where the last dimension of a tensor is narrow, trailing dimensions
are taken together as columns, so that few bits of a row are left over; the number of rows says how many.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import BLOCK_ELEMENTS, Access, Spec
from brickctl.tensors.kernels import kernel
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region

_NARROW = 64
"""Columns below which more dimensions are taken together: a row wastes at most 7 bits."""


def packed(node: Node) -> Node:
    """The bits of a tensor of 0 and 1 in bytes, which has at least one element."""
    rows, columns = rows_and_columns(node.spec.shape)
    if columns != node.spec.columns:
        node = reshape(node, (rows, columns))
    return Map(Spec(DType.U8, (rows, -(-columns // 8))), Op.make("pack-bits", 1), (Input(node, Access.PACKED),))


def unpacked(node: Node, shape: tuple[int, ...]) -> Node:
    """The bits as a tensor of this shape, which they fit."""
    spec = Spec(DType.U8, shape)
    rows = node.spec.rows
    columns = spec.elements // rows
    same = columns == spec.columns
    bits = Spec(DType.U8, shape if same else (rows, columns))
    return reshape(Map(bits, Op.make("unpack-bits", 1), (Input(node, Access.BITS),)), shape)


def fits(bits: Spec, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of bytes can be the packed bits of a tensor of this shape."""
    if bits.dtype is not DType.U8 or len(bits.shape) != 2 or not bits.elements:  # noqa: PLR2004 - a matrix
        return False
    columns, rest = divmod(Spec(DType.U8, shape).elements, bits.rows)
    return not rest and bits.columns == -(-columns // 8)


def rows_and_columns(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor as a matrix whose rows are wide enough, and no longer than a block unless its last dimension is."""
    columns = shape[-1] if shape else 1
    for size in reversed(shape[:-1]):
        if columns >= _NARROW or columns * size > BLOCK_ELEMENTS:
            break
        columns *= size
    return math.prod(shape) // columns, columns


@kernel("pack-bits", scratch=1, overwrites=False)
def run_pack(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Eight columns to a byte; what a row lacks to a whole byte is 0."""
    import numpy as np
    import torch

    del arguments, block
    out.copy_(torch.from_numpy(np.packbits(inputs[0].numpy(), axis=1, bitorder="little")))


@kernel("unpack-bits", scratch=2, overwrites=False)
def run_unpack(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One column for each bit; a block may begin within a byte."""
    import numpy as np
    import torch

    del arguments
    bits = np.unpackbits(inputs[0].numpy(), axis=1, bitorder="little")
    begin = block.left % 8
    out.copy_(torch.from_numpy(bits[:, begin : begin + block.right - block.left]))
