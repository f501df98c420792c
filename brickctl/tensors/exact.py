"""Products and sums whose bits do not depend on the order of the additions, so on no CPU, thread count or library.

A matrix product adds r terms in an order that belongs to the BLAS kernel of the day. If every factor is an integer of
at most b bits times a power of two that is common to the terms of one sum, each term is an integer of 2b bits and each
partial sum one of 2b + log2(r) bits: with 2b + ceil(log2 r) <= 53 nothing is ever rounded in fp64, and order cannot
matter. Factors of up to 24 bits are rounded to b = 23 for r <= 128 (relative to the largest of their row or column), an
error below 2^-23 of a delta; bf16 factors are not changed at all unless one is 2^15 times smaller than its neighbour.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import BLOCK_ELEMENTS, Access, Spec
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region

_MANTISSA_BITS = 53
_STORED_BITS = 52
_SMALLEST_EXPONENT = 1


def exact_product(left: Node, right: Node, scale: float) -> Node:
    """The product scale * (left @ right), left (rows, r), right (r, columns), in fp64: only the scale is rounded."""
    rows, rank = left.spec.shape
    columns = right.spec.shape[1]
    part = Access.ALL if left.spec.elements <= BLOCK_ELEMENTS else Access.ROWS  # what is small is quantised once
    factors = Input(quantise(left, rank, along="rows"), part), Input(quantise(right, rank), Access.COLUMNS)
    return Map(Spec(DType.F64, (rows, columns)), Op.make("product", 1, scale=scale), factors)


def exact_product_transposed(left: Node, right: Node, scale: float) -> Node:
    """The product scale * (left @ right).T in fp64, left (columns, r), right (r, rows)."""
    columns, rank = left.spec.shape
    rows = right.spec.shape[1]
    factors = Input(quantise(left, rank, along="rows"), Access.BESIDE), Input(quantise(right, rank), Access.ACROSS)
    return Map(Spec(DType.F64, (rows, columns)), Op.make("product-transposed", 1, scale=scale), factors)


def quantise(node: Node, terms: int, *, along: str = "columns") -> Node:
    """The factor in fp64, each row or column rounded to the bits that keep sums of `terms` products exact."""
    bits = (_MANTISSA_BITS - math.ceil(math.log2(max(terms, 1)))) // 2
    whole = Access.ROWS if along == "rows" else Access.COLUMNS
    op = Op.make("quantise", 1, bits=bits, along=along)
    return Map(Spec(DType.F64, node.spec.shape), op, (Input(node, whole),))


@kernel("quantise")
def run_quantise(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Round to round(x / u) * u, with u = 2^(e - bits), 2^e the power of two above the largest of the row or column."""
    import torch

    del block
    out.copy_(inputs[0])
    dim = 1 if arguments["along"] == "rows" else 0
    largest = torch.maximum(out.amax(dim, keepdim=True).abs_(), out.amin(dim, keepdim=True).abs_())
    exponent = (largest.view(torch.int64) >> _STORED_BITS) + 1 - arguments["bits"]
    unit = (exponent.clamp_(min=_SMALLEST_EXPONENT) << _STORED_BITS).view(torch.float64)
    out.div_(unit).round_().mul_(unit)


@kernel("product", scratch=8)
def run_product(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply: scale * left @ right, left the rows of the block or all; every partial sum is exact."""
    left, right = inputs
    if left.shape[0] != out.shape[0]:
        left = left[block.top : block.bottom]
    _scaled_product(left, right, arguments["scale"], out)


@kernel("product-transposed", scratch=8)
def run_product_transposed(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply: scale * (left @ right).T, left the rows for the columns of the block; every partial sum is exact."""
    del block
    left, right = inputs
    _scaled_product(right.T, left.T, arguments["scale"], out)


def _scaled_product(left: Tensor, right: Tensor, scale: float, out: Tensor) -> None:
    """Write scale * left @ right; a power of two scales the small factor instead, which gives the same bits."""
    import torch

    if abs(math.frexp(scale)[0]) == 0.5:  # noqa: PLR2004 - the mantissa of a power of two
        torch.mm(left * scale, right, out=out)
    else:
        torch.mm(left, right, out=out).mul_(scale)


def sum_of_squares(block: Tensor, *, dim: int) -> Tensor:
    """Sum of squares along rows (dim=1) or columns (dim=0) of a (rows, columns) block, added as a binary tree.

    Element-wise additions in a fixed order: the same bits on every CPU. The dimension stays, with size 1.
    """
    return sum_along(block * block, dim=dim)


def sum_along(terms: Tensor, *, dim: int) -> Tensor:
    """Sum along rows (dim=1) or columns (dim=0) of (rows, columns), added as a binary tree; the dimension stays."""
    import torch

    while (size := terms.shape[dim]) > 1:
        half = size // 2
        pairs = terms.narrow(dim, 0, half) + terms.narrow(dim, half, half)
        terms = pairs if size % 2 == 0 else torch.cat((pairs, terms.narrow(dim, size - 1, 1)), dim=dim)
    return terms
