"""TSV-Merge: the strongest singular vectors of each delta, made orthogonal to those of the others, then summed up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Interval, Scale, Varying
from brickctl.merging.whole_matrices import Deltas, WholeMatrixMethod, whole_matrix_method
from brickctl.tensors.spectral import direction, factors, svd_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


@whole_matrix_method("tsv", laws=["permutation", "scale"], reference="https://arxiv.org/abs/2412.00081")
class Tsv(WholeMatrixMethod):
    """Task singular vectors: low-rank deltas whose directions no longer interfere.

    out = scale * P(U) diag(s) P(V). U = [U_1 ... U_n] (rows, k), s of k values and V = [V_1; ...; V_n] (k, columns)
    hold, one after another, the k_i largest singular values of w_i d_i = U_i diag(s_i) V_i with their vectors, for the
    matrices d_i = tuned_i - base. P(X), the nearest matrix whose columns (for V, rows) are orthonormal, is P Q of a
    second decomposition X = P diag(q) Q (the paper's whitening by Procrustes). Singular values below 2^-27 of
    the largest count as 0, in the deltas and in X, and take no part: equal directions of several bricks share one
    direction then, and a delta of low rank brings no more than it has, where the published code brings vectors that
    LAPACK made up. What is no matrix (norms, biases, kernels of convolutions) gets scale * (1/n) sum_i w_i d_i, as
    there; a brick that does not change a tensor takes part with a delta of zeros.

    Args:
        rank_share: share of its min(rows, columns) singular values that each delta keeps, rounded down, at least one;
            0 is the paper's: 1 / n.
        scale: factor on the result.
    """

    rank_share: Annotated[float, Interval(0.0, 1.0), Varying(each=True)] = 0.0
    scale: Scale = 1.0

    def merge(self, deltas: Deltas, out: Tensor) -> None:
        """Factorise one delta after another, then all their vectors."""
        import torch

        counts = self._counts(min(deltas.shape), deltas.settings)
        kept = [_strongest(delta, count) for delta, count in zip(deltas.weighted(), counts, strict=True)]
        left = torch.cat([found[0] for found in kept], dim=1)
        values = torch.cat([found[1] for found in kept])
        right = torch.cat([found[2] for found in kept])
        kept.clear()
        if len(values) == 0:
            out.zero_()
            return
        torch.mm(direction(left).mul_(values), direction(right), out=out).mul_(self.scale)

    def room(self, rows: int, columns: int, settings: Sequence[Mapping[str, float]]) -> int:
        """The vectors that all deltas keep, and with them a decomposition of one delta, or of all vectors."""
        total = sum(self._counts(min(rows, columns), settings))
        kept, first = 8 * total * (rows + columns), 8 * total * rows
        second = first + max(svd_bytes(rows, total), svd_bytes(total, columns))
        return kept + max(svd_bytes(rows, columns), kept, second)

    def _counts(self, rank: int, settings: Sequence[Mapping[str, float]]) -> list[int]:
        """How many singular values each delta keeps."""
        shares = [one["rank_share"] for one in settings]
        return [max(1, math.floor(share * rank) if share else rank // len(shares)) for share in shares]


def _strongest(delta: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular values and their vectors, apart from all others, whose memory is free again."""
    left, values, right = factors(delta, count)
    return left.clone(), values.clone(), right.clone()
