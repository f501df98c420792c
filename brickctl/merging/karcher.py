"""Karcher: the mean of models on the sphere, from which the arcs to all of them cancel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Interval
from brickctl.merging.method import merge_method
from brickctl.merging.spherical import SphericalMethod, cosines, length_of, lengths
from brickctl.tensors.angles import arc_cosine, sine_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.tensors.arrays import Array

    Matrix = Sequence[Sequence[float]]


@merge_method(
    "karcher",
    space="weight",
    laws=["permutation", "idempotence"],
    reference="https://arxiv.org/abs/2603.04972",
    weighted=False,
)
class Karcher(SphericalMethod):
    """Riemannian mean of directions times mean length, each tensor one vector.

    out = (1/n) (sum_i |x_i|) y, with y the unit vector at which v = (1/k) sum_i a_i / sin(a_i) (u_i - cos(a_i) y) is 0,
    u_i = x_i / |x_i| of the k tensors that are not 0, and a_i the angle between u_i and y. Found by iteration from the
    mean of the u_i: y <- cos(|v|) y + sin(|v|) v / |v|, at most `max_iter` times, until |v| < tol. An u_i within `tol`
    of y or of -y pulls nowhere. Where the u_i cancel and their mean is not longer than `tol`, out = (1/n) sum_i x_i.

    Args:
        max_iter: steps at most.
        tol: angle in radians that counts as 0.
    """

    max_iter: Annotated[int, Interval(0, 1000)] = 10
    tol: Annotated[float, Interval(1e-7, 1.0)] = 1e-5

    def passes_through(self, weights: Sequence[float]) -> bool:
        """The mean of equal models is that model."""
        del weights
        return True

    def coefficients(self, products: Array, weights: Sequence[float]) -> Array:
        """The mean of the unit vectors, found in their coefficients, and stretched to the mean length."""
        import numpy as np

        del weights
        sizes = lengths(products)[:, 0].tolist()
        some = [at for at, size in enumerate(sizes) if size]
        mean = self._mean(cosines(products)[some][:, some, 0].tolist())
        if mean is None:
            return np.full((len(sizes), 1), 1.0 / len(sizes))
        found = [0.0] * len(sizes)
        for at, share in zip(some, mean, strict=True):
            found[at] = share * (math.fsum(sizes) / len(sizes)) / sizes[at]
        return np.array(found).reshape(-1, 1)

    def _mean(self, cosine: Matrix) -> list[float] | None:
        """The mean of unit vectors, as coefficients; None where they cancel, or there are none."""
        mean = [1.0 / len(cosine) for _ in cosine]
        length = length_of(mean, cosine)
        if length <= self.tol:
            return None
        mean = [share / length for share in mean]
        for _ in range(self.max_iter):
            pull = self._pull(cosine, mean)
            size = length_of(pull, cosine)
            if size < self.tol:
                break
            ahead, aside = _turn(size)
            mean = [ahead * share + aside / size * step for share, step in zip(mean, pull, strict=True)]
            length = length_of(mean, cosine)
            mean = [share / length for share in mean]
        return mean

    def _pull(self, cosine: Matrix, mean: Sequence[float]) -> list[float]:
        """The mean of the arcs from the mean to the unit vectors, as coefficients."""
        ahead = [math.fsum(one * share for one, share in zip(row, mean, strict=True)) for row in cosine]
        forces = [self._stretch(max(-1.0, min(one, 1.0))) / len(mean) for one in ahead]
        inward = math.fsum(force * one for force, one in zip(forces, ahead, strict=True))
        return [force - inward * share for force, share in zip(forces, mean, strict=True)]

    def _stretch(self, cosine: float) -> float:
        """The angle over its sine; 0 where the angle is 0, and where it is pi, which has no direction."""
        import numpy as np

        angle = arc_cosine(np.array([cosine])).item()
        if angle < self.tol or math.pi - angle < self.tol:
            return 0.0
        return angle / math.sqrt((1.0 - cosine) * (1.0 + cosine))


def _turn(angle: float) -> tuple[float, float]:
    """Cosine and sine."""
    import numpy as np

    half, sine = sine_of(np.array([angle / 2.0, angle])).tolist()
    return 1.0 - 2.0 * half * half, sine
