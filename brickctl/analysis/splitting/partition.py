"""A partition: which neurons of one FFN are always on, and which make a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.errors import Misfit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARED = -1
"""The group of a neuron that is always on."""

_MOST_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """`order` (neurons,) int32 has the `shared` neurons first, then `groups` groups, each of the same size.

    Within each of them neurons ascend, and groups ascend by their first neurons: partitions that are the same have the
    same order.
    """

    order: NDArray[np.int32]
    shared: int
    groups: int

    @property
    def size(self) -> int:
        """Neurons in each group."""
        return (len(self.order) - self.shared) // self.groups

    @property
    def labels(self) -> NDArray[np.int64]:
        """The group of each neuron (neurons,), SHARED for those that are always on."""
        import numpy as np

        labels = np.full(len(self.order), SHARED)
        labels[self.order[self.shared :]] = np.repeat(np.arange(self.groups), self.size)
        return labels


def partition_of(labels: NDArray[np.int64], groups: int) -> Partition:
    """The partition with these groups, numbered anew; `labels` (neurons,) are below `groups`, or SHARED.

    `partition_of(one.labels, one.groups)` is `one`.
    """
    import numpy as np

    shared = int((labels == SHARED).sum())
    first = [int(np.argmax(labels == group)) for group in range(groups)]
    number = np.empty(groups, dtype=np.int64)
    number[np.argsort(first)] = np.arange(groups)
    canonical = np.where(labels == SHARED, SHARED, number[labels])
    order = np.argsort(canonical, kind="stable").astype(np.int32)  # stable: neurons ascend within a group
    return Partition(order=order, shared=shared, groups=groups)


def shared_neurons(neurons: int, groups: int, share: float) -> int:
    """How many neurons are always on: as near to `share` of all as leaves groups of one size; of two, the smaller.

    Raises:
        Misfit: there are more groups than neurons, or, where `share` is 0, no groups of one size.
    """
    left = neurons % groups
    if groups > neurons or (left and not share):
        divisors = [str(count) for count in range(2, neurons + 1) if neurons % count == 0]
        hint = f"it makes {', '.join(divisors[:_MOST_SHOWN])}"
        raise Misfit(f"an FFN of {neurons} neurons does not make {groups} groups of one size", hint=hint)
    possible = range(left, neurons - groups + 1, groups) if share else range(1)
    return min(possible, key=lambda count: (abs(count - share * neurons), count))
