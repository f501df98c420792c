"""How far functionalities use the same neurons: the overlap of the sets that score best.

The overlap of two labels is |A and B| / k for their sets of k neurons. Two random sets of a share s have s in common.
Labels that exclude each other push that down by construction: what rises with one label falls with another, also
where scores are noise alone. So the overlap means something only beside the one that permuted labels give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.specialisation import FuncScores

SHARE = 0.05
"""The paper's share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """`overlap` and `null` are (labels, labels), in [0, 1]; `null` is the mean over `seeds` permutations of the labels.

    `random` is what two random sets of these sizes are expected to share.
    """

    labels: tuple[str, ...]
    share: float
    overlap: tuple[tuple[float, ...], ...]
    null: tuple[tuple[float, ...], ...]
    seeds: int
    random: float

    def document(self) -> dict[str, Any]:
        """The section `partition` of an analysis, as JSON."""
        return {
            "labels": list(self.labels),
            "share": self.share,
            "overlap": [list(row) for row in self.overlap],
            "null": [list(row) for row in self.null],
            "seeds": self.seeds,
            "random": self.random,
        }


def partition(found: FuncScores, share: float = SHARE) -> Partition:
    """The overlap of the best `share` of neurons of each layer, counted over all layers."""
    import torch

    nulls = torch.stack([_overlap(scores, found.ffns, share) for scores in found.null])
    sizes = [(how_many(ffn, share), ffn.neurons) for ffn in found.ffns]
    return Partition(
        labels=found.labels,
        share=share,
        overlap=_rows(_overlap(found.scores, found.ffns, share)),
        null=_rows(nulls.mean(dim=0)),
        seeds=len(nulls),
        random=sum(size * size / neurons for size, neurons in sizes) / sum(size for size, _ in sizes),
    )


def top_sets(scores: torch.Tensor, ffns: Sequence[Ffn], share: float) -> tuple[torch.Tensor, ...]:
    """For each FFN, which neurons are the best `share` of its own for each label: (labels, neurons) bool.

    `scores` is (labels, neurons of all FFNs). The share is one of each layer and not of the model, because scores of
    different layers are not alike, and a layer without neurons could not be compared with one that has them.
    """
    import torch

    parts = torch.split(scores, [ffn.neurons for ffn in ffns], dim=1)
    best = [
        part.argsort(dim=1, descending=True, stable=True)[:, : how_many(ffn, share)]
        for part, ffn in zip(parts, ffns, strict=True)
    ]
    return tuple(
        torch.zeros_like(part, dtype=torch.bool).scatter_(1, chosen, value=True)
        for part, chosen in zip(parts, best, strict=True)
    )


def how_many(ffn: Ffn, share: float) -> int:
    """A share of the neurons of an FFN, at least one."""
    return max(1, round(share * ffn.neurons))


def _overlap(scores: torch.Tensor, ffns: Sequence[Ffn], share: float) -> torch.Tensor:
    import torch

    sets = torch.cat(top_sets(scores, ffns, share), dim=1).double()
    return sets @ sets.T / sets.sum(dim=1)


def _rows(matrix: torch.Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
