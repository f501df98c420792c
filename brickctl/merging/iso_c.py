"""Iso-C: the sum of deltas with a flat spectrum: all its singular values become their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.parameters import Scale
from brickctl.merging.whole_matrices import Deltas, NotFiniteError, WholeMatrixMethod, whole_matrix_method
from brickctl.tensors.finite import is_finite
from brickctl.tensors.spectral import strongest_bytes, to_direction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


@whole_matrix_method("iso_c", laws=["permutation", "scale"], reference="https://arxiv.org/abs/2502.04959")
class IsoC(WholeMatrixMethod):
    """Isotropic merging in the common subspace: no direction of the sum of deltas outweighs the others.

    out = scale * mean(s) * U V, with U diag(s) V the singular value decomposition of the sum D = sum_i w_i d_i of the
    matrices d_i = tuned_i - base: U (rows, r), s of r values, V (r, columns), r the rank of D; the sum of singular
    values stays what it was. Values below 2^-27 of the largest count as 0: their vectors are noise, which the published
    code blows up like all others. A sum of zeros stays 0. Experts in one tensor (experts, rows,
    columns) are matrices, each for itself. What is no matrix (norms, biases, kernels of convolutions) gets scale *
    (1/n) sum_i w_i d_i, as there; a brick that does not change a tensor takes part with a delta of zeros.

    Args:
        scale: factor on the result; the paper finds about 1.3 to 1.6 best on image encoders.
    """

    scale: Scale = 1.0

    def merge(self, deltas: Deltas, out: Tensor) -> None:
        """Sum up, then flatten the spectrum."""
        self._sum(deltas, out)
        if not is_finite(out):
            raise NotFiniteError
        values = to_direction(out, (lambda: self._sum(deltas, out)) if _is_lent(*out.shape) else None)
        out.mul_(self.scale * float(values.mean()) if len(values) else 0.0)

    def room(self, rows: int, columns: int, settings: Sequence[Mapping[str, float]]) -> int:
        """The sum, and beside it a delta, or one decomposition; or a delta and vectors, or what LAPACK works in.

        Where the memory of the sum is lent, vectors of two levels that are turned take a quarter of a square more.
        """
        del settings
        whole, square = 8 * rows * columns, 8 * min(rows, columns) ** 2
        decomposition = strongest_bytes(min(rows, columns))
        if _is_lent(rows, columns):
            return whole + max(whole + square, decomposition - square + square // 4)
        return whole + max(whole, decomposition)

    def _sum(self, deltas: Deltas, out: Tensor) -> None:
        out.zero_()
        for delta in deltas.weighted():
            out.add_(delta)


def _is_lent(rows: int, columns: int) -> bool:
    """Whether it takes less to make the sum again than to keep it: of what is long and thin a delta takes more."""
    return max(rows, columns) < 2 * min(rows, columns)
