"""Groups of neighbours: what a split is that knows nothing."""

from __future__ import annotations

from brickctl.analysis.splitting.method import Layer, neighbours, splitting_method
from brickctl.analysis.splitting.partition import Partition, partition_of


@splitting_method("contiguous")
def contiguous(layer: Layer) -> Partition:
    """Group g has the neurons from g n up to (g + 1) n, with n in each: a baseline."""
    return partition_of(neighbours(layer), layer.groups)
