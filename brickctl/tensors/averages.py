"""Means of whole tensors and of their rows, in fp64, with the same bits on every CPU."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Node, Op, Statistic
from brickctl.core.regions import Spec
from brickctl.tensors.arithmetic import add, scaled
from brickctl.tensors.exact import sum_along
from brickctl.tensors.kernels import Scan, statistic_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


def mean_of(nodes: Sequence[Node]) -> Node:
    """The mean of several tensors of one shape, element by element, added in their order."""
    return nodes[0] if len(nodes) == 1 else scaled(reduce(add, nodes), 1 / len(nodes))


def mean_of_many(nodes: Sequence[Node]) -> Node:
    """The same of any number of tensors, neighbours added first: as a binary tree, which no plan is too deep for."""
    terms = list(nodes)
    while len(terms) > 1:
        pairs = [add(left, right) for left, right in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, *terms[2 * len(pairs) :]]
    return terms[0] if len(nodes) == 1 else scaled(terms[0], 1 / len(nodes))


def mean_row(node: Node) -> Statistic:
    """The mean of all rows of a matrix: (1, columns)."""
    op = Op.make("mean-row", 1, rows=node.spec.rows, columns=node.spec.columns)
    return Statistic(Spec(DType.F64, (1, node.spec.columns)), op, (node,))


@statistic_kernel("mean-row", scratch=16)
def run_mean_row(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Add the rows of each block as a binary tree, and the blocks in order."""
    import torch

    del given
    total = torch.zeros(1, arguments["columns"], dtype=torch.float64)
    for (block,), region in scan():
        total[:, region.left : region.right] += sum_along(block.double(), dim=0)
    return total.div_(arguments["rows"])
