"""Inner products of whole tensors, in fp64, with the same bits on every CPU."""

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
