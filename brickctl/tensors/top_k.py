"""The k largest elements of a tensor by magnitude, exactly, without sorting and without holding the tensor.

`ranking` finds the k-th key, the bits of a magnitude in fp32 (see `magnitudes`), in one scan after a sample. Elements
with that very key are kept by their index, the first ones first; of real bf16 deltas 15 % of the elements tie.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Statistic
from brickctl.core.regions import Access, Spec, block_height
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.fused.formula import formula
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel
from brickctl.tensors.magnitudes import LARGEST_KEY, value_of
from brickctl.tensors.ranking import FIXED, Grid, Rank, Unranked, ranked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Limits, Notes, Value

_ABOVE, _FROM, _QUOTA, _BEFORE = range(4)
"""Columns of the statistic: see `limits`."""


def keep_largest(node: Node, count: int) -> Node:
    """The tensor with all but its `count` largest elements set to 0, in fp64."""
    return keep_largest_of((node,), (count,))[0]


def keep_largest_of(nodes: Sequence[Node], counts: Sequence[int]) -> tuple[Node, ...]:
    """The same for tensors of one shape, each with a count of its own: what they have in common is read once."""
    found = limits(nodes, counts)
    return tuple(_keep(node, found, number) for number, node in enumerate(nodes))


def largest(node: Node, count: int) -> Node:
    """1 where one of the `count` largest elements of a tensor is, else 0, in fp64."""
    return _keep(node, limits((node,), (count,)), 0, mark=True)


def limits(nodes: Sequence[Node], counts: Sequence[float], *, of_nonzero: bool = False) -> Statistic:
    """What tells the largest elements of n tensors from the others: (n, 3 + blocks + 1) in fp64.

    With `of_nonzero`, a count is a share of the n elements whose magnitude in fp32 is not 0: floor(share * n) of them,
    and at least 1 where n and the share are not 0.

    Magnitudes above column 0 are kept, those above column 1 and not above column 0 tie; column 2 is how many of the
    ties are kept, and from column 3 on stands how many ties lie before each block of whole rows, and at all. Where a
    tensor holds NaN or infinity its row is NaN.
    """
    spec = nodes[0].spec
    wanted = {"shares": list(counts)} if of_nonzero else {"counts": list(counts)}
    grid = Grid(rows=spec.rows, columns=spec.columns, height=block_height(spec))
    op = Op.make("top-k", 1, **wanted, rows=grid.rows, columns=grid.columns, height=grid.height)
    shape = (len(nodes), _BEFORE + grid.blocks + 1)
    rounded = tuple(cast(node, DType.F32) for node in nodes)  # as keys are
    return Statistic(Spec(DType.F64, shape), op, rounded, whole_rows=True)


def _keep(node: Node, found: Statistic, number: int, *, mark: bool = False) -> Node:
    wide = Input(cast(node, DType.F64))  # in a smaller type the limits themselves would be rounded
    op = Op.make("keep-largest", 1, height=block_height(node.spec), number=number, mark=mark)
    return Map(Spec(DType.F64, node.spec.shape), op, (wide, Input(found, Access.ALL)), whole_rows=True)


@statistic_kernel("top-k", scratch=8, fixed=FIXED, arrays=True)
def run_limits(scan: Scan, given: Sequence[Array], arguments: Mapping[str, Any]) -> Array:
    """Find the key of the smallest element that is kept, and in which blocks those lie that tie with it."""
    import numpy as np

    del given
    grid = Grid(rows=arguments["rows"], columns=arguments["columns"], height=arguments["height"])
    wanted = _wanted(arguments)
    found = np.zeros((len(wanted), _BEFORE + grid.blocks + 1))
    for row, last in zip(found, ranked(scan, grid, wanted), strict=True):
        if last is Unranked.NOT_FINITE:
            row.fill(math.nan)
        elif last is Unranked.NONE:
            row[_ABOVE] = row[_FROM] = math.inf
        elif last.key == 0 and last.quota == sum(last.equals):
            row[_ABOVE] = row[_FROM] = -1.0
        else:
            row[_ABOVE], row[_FROM], row[_QUOTA] = _edge(last.key + 1), _edge(last.key), last.quota
            if last.quota < sum(last.equals):
                row[_BEFORE + 1 :] = np.cumsum(last.equals)
    return found


def _wanted(arguments: Mapping[str, Any]) -> list[Rank]:
    """How many elements are to be kept of each tensor: a count, or a share of those that are not 0."""
    if "counts" in arguments:
        return [partial(_at_most, count) for count in arguments["counts"]]
    return [partial(_share, share) for share in arguments["shares"]]


def _at_most(count: int, elements: int, nonzero: int) -> int:
    del nonzero
    return min(count, elements)


def _share(share: float, elements: int, nonzero: int) -> int:
    del elements
    return max(math.floor(share * nonzero), min(nonzero, math.ceil(share)))


@kernel("keep-largest", scratch=24, overwrites=False)
def run_keep(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Keep what lies above a limit; where ties of a block are kept in part, the first ones."""
    import torch

    values, found = inputs
    found = found[arguments["number"]]
    row = found[:_BEFORE].tolist()
    if math.isnan(row[_ABOVE]):
        out.fill_(math.nan)
        return
    number = block.top // arguments["height"]
    before, behind = found[_BEFORE + number : _BEFORE + number + 2].tolist()
    if row[_FROM] >= 0:
        ties_go = before >= row[_QUOTA] and behind > before
        torch.hardshrink(values, row[_ABOVE if ties_go else _FROM], out=out)
    else:
        out.copy_(values)
    if before < row[_QUOTA] < behind:
        tied = (out != 0) & (out.abs() <= row[_ABOVE])
        late = tied.view(-1).cumsum(0).view(tied.shape) > row[_QUOTA] - before
        out.masked_fill_(tied & late, 0.0)
    if arguments["mark"]:
        out.copy_(out != 0)


@formula("keep-largest")
def keep_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """What lies above a limit; where ties of a block are kept in part, the first ones."""
    del notes
    row = whole[-1][arguments["number"]].tolist()
    height = arguments["height"]
    if arguments["mark"] or math.isnan(row[_ABOVE]):
        return None

    def limits(block: Region) -> Limits:
        number = _BEFORE + block.top // height
        before, behind = row[number], row[number + 1]
        ties_go = before >= row[_QUOTA] and behind > before
        part = row[_QUOTA] - before if before < row[_QUOTA] < behind else -1.0
        return row[_ABOVE if ties_go and row[_FROM] >= 0 else _FROM], row[_ABOVE], part

    return inputs[0].largest(limits)


def _edge(key: int) -> float:
    """The largest magnitude whose key is below `key`: round to nearest even makes it the middle between two keys."""
    if key <= 0:
        return 0.0
    below, at = value_of(key - 1), value_of(min(key, LARGEST_KEY))
    middle = (below + at) / 2
    return middle if key % 2 else math.nextafter(middle, 0.0)
