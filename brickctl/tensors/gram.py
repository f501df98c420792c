"""Inner products of whole tensors, of their rows and of their columns, in fp64, with the same bits on every CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Node, Op, Statistic
from brickctl.core.regions import Spec
from brickctl.tensors.exact import sum_along
from brickctl.tensors.kernels import Scan, statistic_kernel
from brickctl.tensors.strips import Total, in_strips

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.tensors.arrays import Array


def gram(nodes: Sequence[Node]) -> Statistic:
    """The inner product of each tensor with each, flattened: (n * n, 1) in fp64; that of i and j at n i + j."""
    count = len(nodes)
    return Statistic(Spec(DType.F64, (count * count, 1)), Op.make("gram", 3, count=count), tuple(nodes))


def gram_of_columns(nodes: Sequence[Node]) -> Statistic:
    """The inner product of each column with that column of each tensor: (n * n, columns) in fp64."""
    count, columns = len(nodes), nodes[0].spec.columns
    op = Op.make("gram-of-columns", 1, count=count, columns=columns)
    return Statistic(Spec(DType.F64, (count * count, columns)), op, tuple(nodes))


@statistic_kernel("gram", version=3, scratch=8, fixed=1 << 20, arrays=True)
def run_gram(scan: Scan, given: Sequence[Array], arguments: Mapping[str, Any]) -> Array:
    """Add up the products of all elements."""
    import numpy as np

    del given
    count = arguments["count"]
    pairs = [(left, right) for left in range(count) for right in range(left, count)]
    sums = scan.totals(lambda inputs, _: [inputs[left] * inputs[right] for left, right in pairs])
    if sums is None:
        totals = [Total() for _ in pairs]
        for blocks, _ in scan():
            for strips in in_strips(*blocks):
                for total, (left, right) in zip(totals, pairs, strict=True):
                    total.add(strips[left] * strips[right])
        sums = [total.value() for total in totals]
    found = np.empty((count, count))
    for (left, right), product in zip(pairs, sums, strict=True):
        found[left, right] = found[right, left] = product
    return found


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
