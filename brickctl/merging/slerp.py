"""Slerp: two models, along the arc between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.parameters import Fraction
from brickctl.merging.method import merge_method
from brickctl.merging.spherical import SphericalMethod, cosines
from brickctl.tensors.angles import arc_cosine, sine_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Part
    from brickctl.tensors.arrays import Array

_NEARLY_PARALLEL = 0.9995


@merge_method(
    "slerp",
    space="weight",
    laws=["idempotence"],
    reference="https://en.wikipedia.org/wiki/Slerp",
    bricks=(2, 2),
    weighted=False,
)
class Slerp(SphericalMethod):
    """Spherical interpolation from the first model to the second, each tensor one vector.

    out = sin((1 - t) a) / sin(a) x_1 + sin(t a) / sin(a) x_2, with a in [0, pi] the angle between the flattened tensors
    x_1 and x_2, which keep their lengths: mergekit's variant. Where |cos(a)| > 0.9995, nearly parallel or opposite,
    out = (1 - t) x_1 + t x_2. A tensor of zeros counts as perpendicular to any other. At t = 0 and t = 1 the tensor of
    that model is copied.

    Args:
        t: how far to go from the first model to the second.
    """

    t: Fraction = 0.5

    def passes_through(self, weights: Sequence[float]) -> bool:
        """Between equal models lies that model."""
        del weights
        return True

    def node(self, parts: Sequence[Part], tensor: str) -> Node:
        """At either end there is nothing to compute, and no bit to change."""
        if self.t in {0.0, 1.0}:
            return parts[int(self.t)].node
        return super().node(parts, tensor)

    def coefficients(self, products: Array, weights: Sequence[float]) -> Array:
        """Of the two models."""
        del weights
        cosine = cosines(products)[0, 1]
        return arc_coefficients(cosine, (1.0 - self.t, self.t), abs(cosine) > _NEARLY_PARALLEL)


def arc_coefficients(cosine: Array, shares: tuple[float, float], linear: NDArray[np.bool_]) -> Array:
    """The rows sin(share a) / sin(a), with a the angles of these cosines (m,), or just the shares: (2, m)."""
    import numpy as np

    safe = np.where(linear, 0.0, cosine)
    angle, sine = arc_cosine(safe), np.sqrt((1.0 - safe) * (1.0 + safe))
    return np.stack([np.where(linear, share, sine_of(angle * share) / sine) for share in shares])
