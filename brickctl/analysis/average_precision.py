"""Average precision of rankings with ties, as its expectation over all orders of what is tied.

A ranking is given by counts: how many instances of each label stand in each bin, the bins in descending order of
score. With one bin for each distinct score nothing is lost; with fewer, what shares a bin counts as tied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def expected(counts: torch.Tensor) -> torch.Tensor:
    """AP of every label against all others: counts (..., labels, bins, neurons); gives (..., labels, neurons) fp64.

    AP = 1/P sum over positives of the precision at their places. In a bin of m instances, p of them positive, with a
    positives among the b instances before it, place i is positive with probability p/m, and then (i-1)(p-1)/(m-1) of
    the i-1 before it in the bin are expected to be as well. With C = (p-1)/(m-1) the bin adds

        p/m sum_i (a + 1 + C (i-1)) / (b+i) = p/m (C m + (a + 1 - C (b+1)) (H(b+m) - H(b))),

    H(n) = 1 + 1/2 + ... + 1/n. Without ties this is the AP of scikit-learn. A label without instances has none: NaN.
    """
    size = counts.sum(dim=-3, keepdim=True)
    before = size.cumsum(dim=-2) - size
    harmonic = harmonic_numbers(int(size.sum(dim=-2).max()), counts.device)
    grown = harmonic[before + size] - harmonic[before]
    # what p (a+1) and p (p-1) are multiplied by in the sum above: the same for all labels
    own = grown / size.clamp(min=1)
    tied = (size - (before + 1) * grown) / (size * (size - 1)).clamp(min=1)
    positive = counts.double()
    others = positive - 1
    inside = (positive.cumsum(dim=-2) - others).mul_(own).addcmul_(others, tied)
    gained: torch.Tensor = inside.mul_(positive).sum(dim=-2)
    return gained / positive.sum(dim=-2)


def of_random_ranking(positives: int, instances: int) -> float:
    """The expectation of AP over all orders of `instances`, `positives` of which are of the label.

    One bin that holds all: (P-1)/(N-1) + (N-P)/(N-1) H(N)/N, which is about p + (1-p) H(N)/N for p = P/N.
    """
    if positives == instances:
        return 1.0
    others = (instances - positives) / (instances - 1)
    return 1 - others + others * harmonic_number(instances) / instances


def harmonic_number(count: int) -> float:
    """H(n) = 1 + 1/2 + ... + 1/n."""
    return sum(1 / number for number in range(count, 0, -1))


def harmonic_numbers(count: int, device: torch.device) -> torch.Tensor:
    """H(0) = 0 to H(count), (count + 1,) fp64."""
    import torch

    numbers = torch.zeros(count + 1, dtype=torch.float64, device=device)
    numbers[1:] = torch.arange(1, count + 1, dtype=torch.float64, device=device).reciprocal().cumsum(dim=0)
    return numbers


def by_rank(scores: torch.Tensor, labels: torch.Tensor, kinds: int) -> torch.Tensor:
    """Counts with a bin for each distinct score.

    scores (instances, neurons); labels (labellings, instances), in [0, kinds). Gives (labellings, kinds, instances,
    neurons) int32.
    """
    import torch

    instances, neurons = scores.shape
    ordered, order = scores.sort(dim=0, descending=True)
    rank = torch.zeros_like(order)
    rank[1:] = (ordered[1:] != ordered[:-1]).cumsum(dim=0)
    counts = torch.zeros(len(labels), kinds * instances, neurons, dtype=torch.int32)
    ones = torch.ones((), dtype=torch.int32).expand(instances, neurons)
    for labelling, counted in zip(labels, counts, strict=True):
        counted.scatter_add_(0, labelling[order] * instances + rank, ones)
    return counts.reshape(len(labels), kinds, instances, neurons)
