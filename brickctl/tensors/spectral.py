"""Singular values of whole matrices in fp64, by LAPACK's `gesdd` on the CPU: equal on all CPUs but for the last bits.

The signs of singular vectors, and a rotation among those of equal singular values, are LAPACK's choice of the day. What
is made here is only used in products U f(S) V, in which both cancel, unless the caller says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NEGLIGIBLE = 2.0**-27
"""A singular value this small beside the largest counts as 0, the square root of what fp64 resolves.

Its vectors are what rounding makes of nothing, so that a method which gives them a size of its own would make noise."""


def svd_bytes(rows: int, columns: int) -> int:
    """Bytes that `factors` takes: a copy of the matrix, both factors, and what `gesdd` works in."""
    rank = min(rows, columns)
    return 8 * (rows * columns + 2 * rank * (rows + columns) + 5 * rank * rank + 64 * (rows + columns))


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
