"""Groups drawn at random: what a split is that knows nothing, and owes nothing to the order of neurons."""

from __future__ import annotations

from brickctl.analysis.splitting.method import Layer, neighbours, splitting_method
from brickctl.analysis.splitting.partition import Partition, partition_of


@splitting_method("random")
def scattered(layer: Layer) -> Partition:
    """Each partition into groups of one size is as likely as any other: a baseline."""
    import numpy as np

    random = np.random.Generator(np.random.PCG64(layer.seed))
    return partition_of(random.permutation(neighbours(layer)), layer.groups)
