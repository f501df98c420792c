"""Clusters of one size, of points that are known by their inner products alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.analysis.splitting.assignment import assign

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_ROUNDS = 50


def balanced_clusters(products: NDArray[np.float32], groups: int, seed: int) -> NDArray[np.int64]:
    """The cluster of each point (points,), by balanced k-means; `products` (points, points) are inner products.

    Each round puts every point with the centre that is nearest to it, as far as clusters of one size allow, at the
    least sum of squared distances. ||x_i - c_g||^2 = P_ii - 2/n sum_{j in g} P_ij + ||c_g||^2 with n points in each g,
    and the first and last term are the same sum however points are put: what is maximised is
    sum_i sum_{j in g(i)} P_ij over the clusters of the round before. It never falls from one round to the next, since P
    is positive semidefinite. Starts with the centres of k-means++ (Arthur and Vassilvitskii, 2007).
    """
    import numpy as np

    labels = assign(-products[:, _first_centres(products, groups, seed)].astype(np.float64))
    for _ in range(_MOST_ROUNDS):
        new = assign(-sums_by_group(products, labels, groups))
        if (new == labels).all():
            break
        labels = new
    return labels


def sums_by_group(products: NDArray[np.float32], labels: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
    """sum_{j in g} P_ij, (points, groups)."""
    import numpy as np

    sums = [products[:, labels == group].sum(axis=1, dtype=np.float64) for group in range(groups)]
    return np.stack(sums, axis=1)


def _first_centres(products: NDArray[np.float32], groups: int, seed: int) -> list[int]:
    """Points far from each other: the chance of one is in proportion to its squared distance from those before.

    Of 2 + ln(groups) that are drawn, the one is taken that leaves all points nearest to a centre (greedy k-means++).
    """
    import numpy as np

    random = np.random.Generator(np.random.PCG64(seed))
    lengths = np.diagonal(products).astype(np.float64)
    centres = [int(random.random() * len(lengths))]
    distances = _distances(products, lengths, centres)[0]
    while len(centres) < groups:
        reach = np.cumsum(distances)
        drawn = np.searchsorted(reach, random.random(2 + int(math.log(groups))) * reach[-1], side="right")
        drawn = np.minimum(drawn, len(lengths) - 1)  # where all points are centres, there is nothing to reach
        left = np.minimum(distances, _distances(products, lengths, drawn))
        best = int(left.sum(axis=1).argmin())
        centres.append(int(drawn[best]))
        distances = left[best]
    return centres


def _distances(products: NDArray[np.float32], lengths: NDArray[np.float64], centres: Any) -> NDArray[np.float64]:
    """Squared distances of all points from some, (centres, points)."""
    import numpy as np

    distances: NDArray[np.float64] = lengths + lengths[centres][:, None] - 2.0 * products[centres]
    return np.maximum(distances, 0.0)
