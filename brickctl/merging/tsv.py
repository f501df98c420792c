"""TSV-Merge: the strongest singular vectors of each delta, made orthogonal to those of the others, then summed up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Interval, Scale, Varying
from brickctl.merging.whole_matrices import Deltas, WholeMatrixMethod, whole_matrix_method
from brickctl.tensors.spectral import rows_of, strongest, strongest_bytes, tall, to_direction

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
    LAPACK made up. Experts in one tensor (experts, rows, columns) are matrices, each for itself. What is no matrix
    (norms, biases, kernels of convolutions) gets scale * (1/n) sum_i w_i d_i, as there; a brick that does not change a
    tensor takes part with a delta of zeros.

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

        result, counts = tall(out), self._counts(min(deltas.shape), deltas.settings)
        kept = _strongest(deltas, counts)
        values = torch.cat([sizes for sizes, _ in kept])
        if len(values) == 0:
            out.zero_()
            return
        left = _images(deltas, kept, result)
        right = torch.cat([vectors for _, vectors in kept], dim=1)
        kept.clear()
        to_direction(left)
        to_direction(right)
        torch.mm(left.mul_(values), right.T, out=result).mul_(self.scale)

    def room(self, rows: int, columns: int, settings: Sequence[Mapping[str, float]]) -> int:
        """The vectors of all deltas on the shorter side, then on both, and one decomposition at a time.

        Beside those of the shorter side there is one delta; for a moment they are there twice; the result comes last.
        """
        high, width = max(rows, columns), min(rows, columns)
        total = sum(self._counts(width, settings))
        short, long = 8 * total * width, 8 * total * high
        first = short + 8 * rows * columns + max(strongest_bytes(width), long)
        second = long + short + strongest_bytes(min(high, max(width, total)))
        return max(first, long + 2 * short, second, long + short + 8 * rows * columns)

    def _counts(self, rank: int, settings: Sequence[Mapping[str, float]]) -> list[int]:
        """How many singular values each delta keeps."""
        shares = [one["rank_share"] for one in settings]
        return [max(1, math.floor(share * rank) if share else rank // len(shares)) for share in shares]


def _strongest(deltas: Deltas, counts: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """The largest singular values of each delta, with their vectors on the shorter side."""
    found = []
    for delta, count in zip(deltas.weighted(), counts, strict=True):
        high = tall(delta)
        found.append(strongest(rows_of(high), high.shape[1], count))
    return found


def _images(deltas: Deltas, kept: Sequence[tuple[Tensor, Tensor]], result: Tensor) -> Tensor:
    """The vectors of all deltas on the longer side, one after another: what each makes of the others, of length 1."""
    images = result.new_empty(len(result), sum(len(values) for values, _ in kept))
    start = 0
    for delta, (values, vectors) in zip(deltas.weighted(), kept, strict=True):
        part = images[:, start : start + len(values)]
        part.copy_(tall(delta) @ vectors).div_(values)
        start += len(values)
    return images
