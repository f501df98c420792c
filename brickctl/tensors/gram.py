"""Inner products of whole tensors, of their rows and of their columns, in fp64, with the same bits on every CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Node, Op, Statistic
from brickctl.core.regions import Spec
from brickctl.tensors.exact import sum_along
from brickctl.tensors.kernels import Scan, statistic_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


_LANES = 1 << 10
"""Sums that are kept apart until the end. A constant of the engine: sums depend on it."""


def gram(nodes: Sequence[Node]) -> Statistic:
    """The inner product of each tensor with each, flattened: (n, n) in fp64; squared norms in its diagonal."""
    count = len(nodes)
    return Statistic(Spec(DType.F64, (count, count)), Op.make("gram", 1, count=count), tuple(nodes))


def gram_of_columns(nodes: Sequence[Node]) -> Statistic:
    """The inner product of each column with that column of each tensor: (n * n, columns) in fp64."""
    count, columns = len(nodes), nodes[0].spec.columns
    op = Op.make("gram-of-columns", 1, count=count, columns=columns)
    return Statistic(Spec(DType.F64, (count * count, columns)), op, tuple(nodes))


@statistic_kernel("gram", scratch=8, fixed=1 << 20)
def run_gram(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Fold the products of each block into lanes, add up the lanes of all blocks in order, and those as a tree."""
    import torch

    del given
    count = arguments["count"]
    pairs = [(left, right) for left in range(count) for right in range(left, count)]
    lanes = torch.zeros(len(pairs), _LANES, dtype=torch.float64)
    terms = torch.empty(0, dtype=torch.float64)
    for inputs, _ in scan():
        if terms.numel() < inputs[0].numel():
            terms = inputs[0].new_empty(inputs[0].numel())
        for lane, (left, right) in zip(lanes, pairs, strict=True):
            product = terms[: inputs[0].numel()]
            torch.mul(inputs[left].view(-1), inputs[right].view(-1), out=product)
            folded = _fold(product)
            lane[: len(folded)].add_(folded)
    total = torch.zeros(count, count, dtype=torch.float64)
    for (left, right), lane in zip(pairs, lanes, strict=True):
        total[left, right] = total[right, left] = total_of(lane)
    return total


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
