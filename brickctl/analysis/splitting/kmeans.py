"""Groups of neurons that look for the same thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.analysis.splitting.clustering import balanced_clusters
from brickctl.analysis.splitting.method import Layer, splitting_method
from brickctl.analysis.splitting.partition import Partition, partition_of
from brickctl.errors import Misfit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@splitting_method("kmeans")
def kmeans(layer: Layer) -> Partition:
    """Balanced k-means of the neurons' rows (MoEfication, arXiv 2110.01786, section 3.2).

    A neuron is the point [g / ||g||, u / ||u||] of its gate row g and its up row u (without a gate u alone), and each
    cluster has as many points as any other. A row of zeros stays one.

    Raises:
        Misfit: a weight is not finite.
    """
    import numpy as np

    inward = layer.inward()
    if not all(np.isfinite(rows).all() for rows in inward):
        raise Misfit("an FFN has weights that are NaN or infinite")
    unit = [_unit(rows) for rows in inward]
    products = sum(rows @ rows.T for rows in unit[1:]) + unit[0] @ unit[0].T
    return partition_of(balanced_clusters(products, layer.groups, layer.seed), layer.groups)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
