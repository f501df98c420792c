"""The k largest elements of a tensor by magnitude, exactly, without sorting and without holding the tensor.

The key of an element is the bits of its magnitude rounded to fp32, an integer of 31 bits that grows with it. Counting
the upper 16 bits, then the lower 15 of those in the one bucket where the k-th lies, gives the k-th key. Elements with
that very key are kept by their index, the first ones first; of real bf16 deltas 15 % of the elements tie.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Access, Input, Map, Node, Op, Spec, Statistic, block_height
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Region

_LOW_BITS = 15
_HIGH_COUNT, _LOW_COUNT = 1 << 16, 1 << _LOW_BITS
_FIRST_INFINITE = 0x7F800000 >> _LOW_BITS
_LARGEST_KEY = 0x7FFFFFFF
_ABOVE, _FROM, _QUOTA, _BEFORE = range(4)
"""Columns of the statistic: see `limits`."""


def keep_largest(node: Node, count: int) -> Node:
    """The tensor with all but its `count` largest elements set to 0, in fp64."""
    return _keep(node, limits(node, count))


def largest(node: Node, count: int) -> Node:
    """1 where one of the `count` largest elements of a tensor is, else 0, in fp64."""
    return _keep(node, limits(node, count), mark=True)


def limits(node: Node, count: int) -> Statistic:
    """What tells the `count` largest elements of a tensor from the others: (1, 3 + blocks + 1) in fp64.

    Magnitudes above column 0 are kept, those above column 1 and not above column 0 tie; column 2 is how many of the
    ties are kept, and from column 3 on stands how many ties lie before each block of whole rows, and at all. Where the
    tensor holds NaN or infinity everything is NaN.
    """
    blocks = -(-node.spec.rows // block_height(node.spec))
    op = Op.make("top-k", 1, count=count, height=block_height(node.spec), blocks=blocks)
    return Statistic(Spec(DType.F64, (1, _BEFORE + blocks + 1)), op, (node,), whole_rows=True)


def _keep(node: Node, found: Statistic, *, mark: bool = False) -> Node:
    wide = Input(cast(node, DType.F64))  # in a smaller type the limits themselves would be rounded
    op = Op.make("keep-largest", 1, height=block_height(node.spec), mark=mark)
    return Map(Spec(DType.F64, node.spec.shape), op, (wide, Input(found, Access.ALL)), whole_rows=True)


@statistic_kernel("top-k", scratch=16, fixed=8 * (2 * _HIGH_COUNT + _LOW_COUNT))
def run_limits(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Count the upper bits, then the lower ones of one bucket, then the ties of every block where some must go."""
    import torch

    del given
    count, blocks = arguments["count"], arguments["blocks"]
    found = torch.zeros(1, _BEFORE + blocks + 1, dtype=torch.float64)
    high = torch.zeros(_HIGH_COUNT, dtype=torch.int64)
    for (block,), _ in scan():
        high += torch.bincount(_keys(block) >> _LOW_BITS, minlength=_HIGH_COUNT)
    if int(high[_FIRST_INFINITE:].sum()):
        return found.fill_(math.nan)
    if int(high.sum()) <= count:
        found[0, _ABOVE] = found[0, _FROM] = -1.0
        return found
    bucket, above = _descend(high, count)
    low = torch.zeros(_LOW_COUNT, dtype=torch.int64)
    for (block,), _ in scan():
        keys = _keys(block)
        low += torch.bincount(keys[keys >> _LOW_BITS == bucket] & (_LOW_COUNT - 1), minlength=_LOW_COUNT)
    place, higher = _descend(low, count - above)
    key = (bucket << _LOW_BITS) + place
    found[0, _ABOVE], found[0, _FROM] = _edge(key + 1), _edge(key)
    found[0, _QUOTA] = count - above - higher
    if int(low[place]) > count - above - higher:
        ties = [int((_keys(block) == key).sum()) for (block,), _ in scan()]
        found[0, _BEFORE + 1 :] = torch.tensor(ties).cumsum(0)
    return found


@kernel("keep-largest", scratch=24)
def run_keep(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Keep what lies above a limit; where ties of a block are kept in part, the first ones."""
    import torch

    values, found = inputs
    row = found[0, :_BEFORE].tolist()
    if math.isnan(row[_ABOVE]):
        out.fill_(math.nan)
        return
    number = block.top // arguments["height"]
    before, behind = found[0, _BEFORE + number : _BEFORE + number + 2].tolist()
    ties_go = before >= row[_QUOTA] and behind > before
    kept = torch.nn.functional.hardshrink(values, row[_ABOVE if ties_go else _FROM]) if row[_FROM] >= 0 else values
    out.copy_(kept)
    if before < row[_QUOTA] < behind:
        tied = (out != 0) & (out.abs() <= row[_ABOVE])
        late = tied.view(-1).cumsum(0).view(tied.shape) > row[_QUOTA] - before
        out.masked_fill_(tied & late, 0.0)
    if arguments["mark"]:
        out.copy_(out != 0)


def _keys(block: Tensor) -> Tensor:
    """The bits of the magnitudes in fp32, as one row of integers; overwrites nothing."""
    import torch

    return block.to(torch.float32).abs_().view(torch.int32).view(-1)


def _descend(counts: Tensor, wanted: int) -> tuple[int, int]:
    """The place where the `wanted`-th element from above lies, and how many lie above that place."""
    import torch

    from_above = counts.flip(0).cumsum(0)
    step = int(torch.searchsorted(from_above, wanted))
    return len(counts) - 1 - step, int(from_above[step]) - int(counts[len(counts) - 1 - step])


def _edge(key: int) -> float:
    """The largest magnitude whose key is below `key`: round to nearest even makes it the middle between two keys."""
    if key <= 0:
        return 0.0
    below, at = _value(key - 1), _value(min(key, _LARGEST_KEY))
    middle = (below + at) / 2
    return middle if key % 2 else math.nextafter(middle, 0.0)


def _value(key: int) -> float:
    number: float = struct.unpack("<f", struct.pack("<I", key))[0]
    return number
