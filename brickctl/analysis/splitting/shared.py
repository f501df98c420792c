"""Neurons that nearly every token needs stay on, and the others are grouped."""

from __future__ import annotations

from brickctl.analysis.splitting.coactivation import fired_together
from brickctl.analysis.splitting.method import Layer, splitting_method
from brickctl.analysis.splitting.partition import SHARED, Partition, partition_of


@splitting_method("shared", hears=True, shares=True)
def shared_and_groups(layer: Layer) -> Partition:
    """CMoE (arXiv 2502.04416, section 4): shared neurons by their rate, groups by balanced clusters of marks.

    The rate of a neuron is the share of tokens on which it fired. The `shared` neurons with the highest rates (of equal
    ones, the first) are always on. The others make groups by their columns of marks, as CMoE's balanced assignment
    does; here it goes on until no swap is better (`fired_together`).
    """
    import numpy as np

    edges = layer.coactivations()
    by_rate = np.argsort(-np.diagonal(edges), kind="stable")
    others = np.sort(by_rate[layer.shared :])
    labels = np.full(layer.neurons, SHARED)
    labels[others] = fired_together(edges[np.ix_(others, others)], layer.groups, layer.seed)
    return partition_of(labels, layer.groups)
