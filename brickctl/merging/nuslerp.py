"""NuSLERP: two models or two deltas by weight, along the arc between them, per tensor, row or column."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brickctl.merging.method import Space, merge_method
from brickctl.merging.slerp import arc_coefficients
from brickctl.merging.spherical import SCRATCH, Along, SphericalMethod, cosines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.tensors.arrays import Array

_NOTHING = 1e-12
"""A sum this small beside its terms is what rounding leaves of 0."""

_PARALLEL = 2.0**-23
"""Squared sine of an angle that cosines in single precision cannot tell from 0 or pi."""


@merge_method(
    "nuslerp",
    space="weight",
    laws=["permutation", "idempotence"],
    reference="https://arxiv.org/abs/2403.13257",
    bricks=(2, 2),
    complete=True,
    scratch=SCRATCH,
)
class NuSlerp(SphericalMethod):
    """Spherical interpolation of two models by their weights; with `deltas`, of what they change.

    out = sin(s_1 a) / sin(a) x_1 + sin(s_2 a) / sin(a) x_2, with s_i = w_i / (w_1 + w_2) and a in [0, pi] the angle
    between x_1 and x_2, which keep their lengths; x_i is the tensor of model i, or its difference from the base.
    Vectors that are parallel or opposite as far as single precision can tell, sin(a)^2 <= 2^-23, are combined linearly,
    out = s_1 x_1 + s_2 x_2. A vector of zeros counts as perpendicular to any other.

    Args:
        by: what is one vector: each whole tensor; each row, all entries that differ in the last index only (mergekit's
            `nuslerp_flatten: false`); or each column, all that share the last index (with its `nuslerp_row_wise: true`
            too). A tensor of one dimension is always one vector.
        deltas: combine the differences from the base, and add the result to the running model.
    """

    by: Along = "tensor"
    deltas: bool = False

    @property
    def space(self) -> Space:
        """Deltas where they are asked for."""
        return "delta" if self.deltas else self.declared.space

    @property
    def along(self) -> Along:
        """What is one vector."""
        return self.by

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Weights that sum to 0 give no shares."""
        if abs(math.fsum(weights)) <= _NOTHING * math.fsum(map(abs, weights)):
            return f"the weights sum to 0, so there are no shares: {list(weights)}"
        return None

    def passes_through(self, weights: Sequence[float]) -> bool:
        """Between equal tensors lies that tensor; a brick of weight 0 has been left out."""
        del weights
        return True

    def coefficients(self, products: Array, weights: Sequence[float]) -> Array:
        """Of the two inputs."""
        first, second = (weight / math.fsum(weights) for weight in weights)
        cosine = cosines(products)[0, 1]
        parallel = (1.0 - cosine) * (1.0 + cosine) <= _PARALLEL
        return arc_coefficients(cosine, (first, second), parallel)
