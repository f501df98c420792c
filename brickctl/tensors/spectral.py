"""Singular values of whole matrices in fp64, by LAPACK's `gesdd` on the CPU: equal on all CPUs but for the last bits.

The signs of singular vectors, and a rotation among those of equal singular values, are LAPACK's choice of the day. What
is made here is only used in products U f(S) V, in which both cancel, unless the caller says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

NEGLIGIBLE = 2.0**-27
"""A singular value this small beside the largest counts as 0, the square root of what fp64 resolves.

Its vectors are what rounding makes of nothing, so that a method which gives them a size of its own would make noise."""


def svd_bytes(rows: int, columns: int) -> int:
    """Bytes that `factors` takes: a copy of the matrix, both factors, and what `gesdd` works in."""
    rank = min(rows, columns)
    return 8 * (rows * columns + rank * (rows + columns) + 4 * rank * rank + 256 * rank)


def factors(matrix: Tensor, rank: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The singular vectors and values of a matrix (rows, columns): left (rows, k), values k, right (k, columns).

    k is the number of singular values that are not `NEGLIGIBLE`, at most `rank`; 0 for a matrix of zeros.
    """
    import torch

    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    count = min(significant(values), len(values) if rank is None else rank)
    return left[:, :count], values[:count], right[:count]


def significant(values: Tensor) -> int:
    """How many of the singular values, largest first, are not negligible."""
    return int((values > NEGLIGIBLE * values[0]).sum())


def direction(matrix: Tensor) -> Tensor:
    """The partial isometry U V of a matrix U S V, without what belongs to negligible singular values.

    It is the factor of the polar decomposition, and of all matrices with orthonormal columns (or rows) in the space of
    the matrix the nearest one.
    """
    left, _, right = factors(matrix)
    return left @ right


def common_directions(matrices: Iterable[Tensor], rows: int, columns: int) -> Tensor:
    """The left singular vectors (rows, k) of matrices side by side, (rows, columns) in all, seen one after another.

    Where all together are wider than high, only the triangular factor of what was seen is kept, which has the same
    ones. Their signs are LAPACK's choice.
    """
    return factors(_side_by_side(matrices, rows, columns) if columns <= rows else _square(matrices, rows))[0]


def signs(vectors: Tensor) -> Tensor:
    """For each column 1 or -1, with which its entry of largest magnitude becomes positive: (1, columns)."""
    return vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()


def common_directions_bytes(rows: int, columns: int, widest: int) -> int:
    """Bytes that this takes, `widest` the columns of one matrix."""
    if columns <= rows:
        return 8 * rows * columns + svd_bytes(rows, columns)
    return 8 * rows * rows + max(16 * (rows + widest) * rows, svd_bytes(rows, rows))


def _side_by_side(matrices: Iterable[Tensor], rows: int, columns: int) -> Tensor:
    import torch

    whole = torch.empty(rows, columns, dtype=torch.float64)
    left = 0
    for matrix in matrices:
        whole[:, left : left + matrix.shape[1]].copy_(matrix)
        left += matrix.shape[1]
    return whole


def _square(matrices: Iterable[Tensor], rows: int) -> Tensor:
    """A matrix (rows, at most rows) that has the same left singular vectors and values."""
    import torch

    triangle = torch.empty(0, rows, dtype=torch.float64)
    for matrix in matrices:
        triangle = torch.linalg.qr(torch.cat((triangle, matrix.T)), mode="r").R
    return triangle.T
