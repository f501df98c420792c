"""Tensors in few bits: an integer for each element, and a factor for each group of elements in a row.

    8 or 4 bits:  x = q s,  q = round(x / s) in [-127, 127] or [-7, 7],  s = max|x| / 127 or 7 of the group
    1 bit:        x = s where x >= 0, else -s,  s = mean|x| of the group

For the signs alone no other factor has a smaller squared error: BitDelta (arXiv 2402.10193), which has one for each
matrix. A tensor is seen as rows and columns, as in `bits`. Codes are int8 (rows, columns); of 4 bits q + 8, the first
of two columns in the low half of its byte, (rows, ceil(columns / 2)) uint8; of 1 bit as `bits` packs them. Factors are
fp32 (rows, groups); the last group of a row may be shorter. What comes out is one product in fp64, which is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.tensors.bits import rows_and_columns
from brickctl.tensors.kernels import kernel
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region

BITS = (8, 4, 1)
"""How many an element may have."""

_LEVELS = {8: 127, 4: 7}
_MIDDLE = 8
_BYTE = 8


def quantised(tensor: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor]:
    """Codes and factors of a tensor of finite fp64, in groups of so many columns; 0: whole rows."""
    rows, columns = rows_and_columns(tuple(tensor.shape))
    matrix = tensor.reshape(rows, columns)
    sizes = _grouped(matrix.abs(), group)
    if bits == 1:
        return _packed_signs(matrix), _means(sizes, columns)
    factors = (sizes.amax(dim=2) / _LEVELS[bits]).float()
    steps = _spread(factors, group, columns)
    whole = (matrix / steps).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0).round_()
    codes = whole.clamp_(-_LEVELS[bits], _LEVELS[bits])
    return (codes.char() if bits == _BYTE else _packed_halves(codes)), factors


def dequantised(codes: Node, factors: Node, shape: tuple[int, ...], bits: int, group: int) -> Node:
    """The tensor of this shape that they stand for, in fp64; they fit it."""
    rows, columns = rows_and_columns(shape)
    op = Op.make("dequantise", 1, bits=bits, group=group, columns=columns)
    inputs = Input(codes, Access.ROWS), Input(factors, Access.ROWS)
    return reshape(Map(Spec(DType.F64, (rows, columns)), op, inputs), shape)


def specs_of(shape: tuple[int, ...], bits: int, group: int) -> tuple[Spec, Spec]:
    """Element types and shapes of the codes and the factors of a tensor of this shape."""
    rows, columns = rows_and_columns(shape)
    groups = 1 if group == 0 else -(-columns // group)
    codes = Spec(DType.I8 if bits == _BYTE else DType.U8, (rows, -(-columns * bits // _BYTE)))
    return codes, Spec(DType.F32, (rows, groups))


def values_of(codes: Tensor, factors: Tensor, bits: int, group: int, columns: int) -> Tensor:
    """The rows (rows, columns) in fp64 that some rows of codes and factors stand for."""
    import numpy as np
    import torch

    if bits == _BYTE:
        whole = codes.double()
    elif bits == 1:
        signs = np.unpackbits(codes.numpy(), axis=1, count=columns, bitorder="little")
        whole = torch.from_numpy(signs).double().mul_(2).sub_(1)
    else:
        halves = torch.stack((codes & (2 * _MIDDLE - 1), codes >> 4), dim=2).flatten(1)[:, :columns]
        whole = halves.double().sub_(_MIDDLE)
    return whole.mul_(_spread(factors, group, columns))


@kernel("dequantise", scratch=32, overwrites=False)
def run_dequantise(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block: whole rows are decoded, of which those columns are taken that it has."""
    codes, factors = inputs
    rows = values_of(codes, factors, arguments["bits"], arguments["group"], arguments["columns"])
    out.copy_(rows[:, block.left : block.right])


def _grouped(sizes: Tensor, group: int) -> Tensor:
    """Magnitudes (rows, columns) as (rows, groups, columns of a group); what the last group lacks is 0."""
    from torch.nn.functional import pad

    width = _width(group, sizes.shape[1])
    return pad(sizes, (0, -sizes.shape[1] % width)).reshape(len(sizes), -1, width)


def _width(group: int, columns: int) -> int:
    """How many columns a group has: no more than there are, so that it takes no memory for those that are not."""
    return columns if group == 0 else min(group, columns)


def _means(sizes: Tensor, columns: int) -> Tensor:
    """The mean of each group, (rows, groups) fp32; the last may have fewer columns than the others."""
    groups, width = sizes.shape[1:]
    counts = sizes.new_full((groups,), width)
    counts[-1] = columns - (groups - 1) * width
    return (sizes.sum(dim=2) / counts).float()


def _spread(factors: Tensor, group: int, columns: int) -> Tensor:
    """Each factor beside every column of its group, in fp64."""
    wide, width = factors.double(), _width(group, columns)
    return wide.expand(-1, columns) if width == columns else wide.repeat_interleave(width, dim=1)[:, :columns]


def _packed_signs(matrix: Tensor) -> Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.packbits((matrix >= 0).numpy(), axis=1, bitorder="little"))


def _packed_halves(codes: Tensor) -> Tensor:
    from torch.nn.functional import pad

    halves = pad(codes + _MIDDLE, (0, codes.shape[1] % 2)).byte()
    packed: Tensor = halves[:, ::2] | halves[:, 1::2] << 4
    return packed
