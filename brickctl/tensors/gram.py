"""Inner products of whole tensors, of their rows and of their columns, in fp64, with the same bits on every CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Node, Op, Spec, Statistic
from brickctl.tensors.exact import sum_along
from brickctl.tensors.kernels import Scan, statistic_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


def gram(nodes: Sequence[Node]) -> Statistic:
    """The inner product of each tensor with each, flattened: (n, n) in fp64; squared norms in its diagonal."""
    count = len(nodes)
    return Statistic(Spec(DType.F64, (count, count)), Op.make("gram", 1, count=count), tuple(nodes))


def gram_of_columns(nodes: Sequence[Node]) -> Statistic:
    """The inner product of each column with that column of each tensor: (n * n, columns) in fp64."""
    count, columns = len(nodes), nodes[0].spec.columns
    op = Op.make("gram-of-columns", 1, count=count, columns=columns)
    return Statistic(Spec(DType.F64, (count * count, columns)), op, tuple(nodes))


@statistic_kernel("gram", scratch=24)
def run_gram(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Add the products of each block as a binary tree, and the blocks in order."""
    import torch

    del given
    count = arguments["count"]
    total = torch.zeros(count, count, dtype=torch.float64)
    for inputs, _ in scan():
        for left in range(count):
            for right in range(left, count):
                total[left, right] += total_of(inputs[left] * inputs[right])
    return total.triu() + total.triu(1).T


def total_of(terms: Tensor) -> Tensor:
    """The sum of all elements of a block, added as a binary tree: (1, 1)."""
    return sum_along(terms.reshape(1, -1), dim=1)[0, 0]


@statistic_kernel("gram-of-columns", scratch=24)
def run_gram_of_columns(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Add the products of each block as a binary tree, and the blocks in order."""
    import torch

    del given
    count, columns = arguments["count"], arguments["columns"]
    total = torch.zeros(count, count, columns, dtype=torch.float64)
    for inputs, region in scan():
        total[:, :, region.left : region.right] += products(inputs, dim=0)
    return total.reshape(count * count, columns)


def products(inputs: Sequence[Tensor], *, dim: int) -> Tensor:
    """The inner product of each row (dim=1) or column (dim=0) with that of each block: (n, n, rows or columns)."""
    import torch

    count = len(inputs)
    found = torch.empty(count, count, inputs[0].shape[1 - dim], dtype=torch.float64)
    for left in range(count):
        for right in range(left, count):
            found[left, right] = found[right, left] = sum_along(inputs[left] * inputs[right], dim=dim).reshape(-1)
    return found
