"""Which of several labels a text belongs to, by the direction of what a model makes of it, or to none of them.

    z(x) = (u(x) - mean) / |u(x) - mean|,    c_l = the direction of the mean of z over the texts of label l

with the pooled states u (`pooled_states`), and as `mean` the mean over labels of their mean u. A text goes to the label
with the largest cosine z . c_l, if that is at least

    threshold_l = 1 - reach (1 - the smallest z . c_l among the texts of l)

and to none otherwise: what is `reach` times as far away as the farthest text that is known to belong there does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Centroids:
    """A centre for every label: `centroids` (labels, hidden) of length 1, `mean` (hidden), `thresholds` (labels)."""

    centroids: Tensor
    mean: Tensor
    thresholds: Tensor

    def cosines(self, pooled: Tensor) -> Tensor:
        """How near texts are to every centre, (texts, labels), from their pooled states (texts, hidden)."""
        return _directions(pooled, self.mean) @ self.centroids.T

    def choose(self, pooled: Tensor) -> list[int | None]:
        """The number of the label of each text; None for one that belongs nowhere."""
        best = self.cosines(pooled).max(dim=1)
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [label if cosine >= float(self.thresholds[label]) else None for cosine, label in pairs]


def centroids_of(pooled: Tensor, labels_of: Sequence[int], count: int, *, reach: float) -> Centroids:
    """The centres of `count` labels, from pooled states (texts, hidden) and the number of the label of each text."""
    import torch

    groups = [pooled[[at for at, own in enumerate(labels_of) if own == label]] for label in range(count)]
    mean = torch.stack([group.mean(dim=0) for group in groups]).mean(dim=0)
    each = [_directions(group, mean) for group in groups]
    centres = torch.stack([torch.nn.functional.normalize(one.mean(dim=0), dim=0) for one in each])
    lowest = torch.stack([(one @ centre).min() for one, centre in zip(each, centres, strict=True)])
    return Centroids(centroids=centres, mean=mean, thresholds=1.0 - reach * (1.0 - lowest))


def _directions(pooled: Tensor, mean: Tensor) -> Tensor:
    import torch

    return torch.nn.functional.normalize(pooled - mean, dim=-1)
