"""Multi-SLERP: the weighted mean direction of any number of models or deltas, at their weighted mean length."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Interval
from brickctl.merging.method import Space, merge_method
from brickctl.merging.spherical import SphericalMethod, cosines, length_of, lengths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.tensors.arrays import Array

_NOTHING = 1e-12
"""A sum this small beside its terms is what rounding leaves of 0."""


@merge_method(
    "multislerp",
    space="weight",
    laws=["permutation", "idempotence"],
    reference="https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    complete=True,
)
class MultiSlerp(SphericalMethod):
    """Weighted mean of directions times weighted mean of lengths, each tensor one vector.

    out = (sum_i s_i |x_i|) m / |m|, with m = sum_i s_i x_i / |x_i|, s_i = w_i / sum_j w_j with `normalize`, else w_i;
    x_i is the tensor of model i, or its difference from the base; a tensor of zeros adds nothing to m. Where the
    directions cancel, |m| <= eps sum_i |s_i|, out = sum_i s_i x_i.

    mergekit projects the unit vectors on the tangent space at m / |m| and follows the exponential map of their weighted
    sum. That sum is always 0, sum_i s_i (u_i - (u_i . m) m / |m|^2) = m - m, so nothing is left of the step here.

    Args:
        normalize: divide the weights by their sum.
        deltas: combine the differences from the base, and add the result to the running model.
        eps: a mean of unit vectors that is shorter has no direction.
    """

    normalize: bool = True
    deltas: bool = False
    eps: Annotated[float, Interval(1e-7, 1.0)] = 1e-6

    @property
    def space(self) -> Space:
        """Deltas where they are asked for."""
        return "delta" if self.deltas else self.declared.space

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Weights that sum to 0 have no mean."""
        if self.normalize and abs(math.fsum(weights)) <= _NOTHING * math.fsum(map(abs, weights)):
            return f"the weights sum to 0, so there is no mean: {list(weights)}"
        return None

    def passes_through(self, weights: Sequence[float]) -> bool:
        """A mean of equal tensors is that tensor."""
        return self.normalize or list(weights) == [1.0]

    def coefficients(self, products: Array, weights: Sequence[float]) -> Array:
        """The same share of each unit vector, stretched to the mean length."""
        import numpy as np

        total = math.fsum(weights) if self.normalize else 1.0
        shares = [weight / total for weight in weights]
        sizes = lengths(products)[:, 0].tolist()
        length = length_of(shares, cosines(products)[:, :, 0].tolist())
        if length <= self.eps * math.fsum(map(abs, shares)):
            return np.array(shares).reshape(-1, 1)
        stretch = math.fsum(share * size for share, size in zip(shares, sizes, strict=True)) / length
        found = [share * stretch / size if size else 0.0 for share, size in zip(shares, sizes, strict=True)]
        return np.array(found).reshape(-1, 1)
