"""Model Stock: the mean of deltas, the shorter the less they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from brickctl.merging.method import ANY_NUMBER, merge_method
from brickctl.merging.spherical import SCRATCH, Along, SphericalMethod, cosines
from brickctl.tensors.strips import tree_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.tensors.arrays import Array

_CANCELLED = 1e-6


@merge_method(
    "model_stock",
    space="delta",
    laws=["permutation", "idempotence"],
    reference="https://arxiv.org/abs/2403.19522",
    bricks=(2, ANY_NUMBER),
    weighted=False,
    complete=True,
    scratch=SCRATCH,
)
class ModelStock(SphericalMethod):
    """Mean of the deltas times a ratio that follows from the angles between them.

    out = t (1/n) sum_i d_i, with d_i = tuned_i - base, t = n c / (1 + (n - 1) c), and c the mean over all pairs i < j
    of the cosine of the angle between d_i and d_j, which is 0 where one of them is 0; the result is added to the
    running model. Equal deltas give t = 1, perpendicular ones 0. Where |1 + (n - 1) c| <= 1e-6 the deltas cancel, and
    t = 0. A brick that does not change a tensor takes part with a delta of zeros.

    Args:
        by: what is one vector, with an angle and a ratio of its own: each whole tensor, or each row, all entries that
            differ in the last index only (mergekit's `filter_wise: true`). A tensor of one dimension is always one.
    """

    by: Literal["tensor", "row"] = "tensor"

    @property
    def along(self) -> Along:
        """What is one vector."""
        return self.by

    def passes_through(self, weights: Sequence[float]) -> bool:
        """Equal deltas agree."""
        del weights
        return True

    def coefficients(self, products: Array, weights: Sequence[float]) -> Array:
        """The same for all deltas: t / n."""
        import numpy as np

        count = len(weights)
        left, right = np.triu_indices(count, 1)
        pairs = np.sort(cosines(products)[left, right], axis=0)  # sorted, so that no order of bricks changes a bit
        cosine = tree_sum(pairs) / len(pairs)
        below = 1.0 + (count - 1.0) * cosine
        ratio = np.where(abs(below) <= _CANCELLED, 0.0, count * cosine / below)
        return np.tile(ratio / count, (count, 1))
