"""The scores of all neurons on all instances, kept whole while they are few, and counted in bins when they are many.

Whole, they take instances * neurons * 4 bytes. Once that is more than a limit, the range of each neuron's scores so
far is cut into bins of equal width in log2(score), one octave wider at either end; scores outside count in the last
bin. Counts take labellings * labels * bins * neurons * 4 bytes however many instances come: as many bins as fit into
the limit too, from 32 to 256; while bins are laid, scores and counts are both there. On 4,000 log-normal instances the
AP is off by at most 0.0008 with 256 bins and 0.008 with 32 (`tests/analysis/test_score_store.py`); how far it is off
for the instances at hand is measured when bins are laid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.analysis import average_precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

FEWEST_BINS, MOST_BINS = 32, 256
LIMIT = 2**29
"""Half a gigabyte: 2,900 instances of SmolLM2-135M, whose 30 layers have 1,536 neurons each."""

_AT_ONCE = 2**19
"""How many counts are turned into AP at a time: those that a processor keeps in its cache, about."""

_ROWS = 64
"""How many instances are put into bins at a time, which takes several times the room of their scores."""

_LEAST = 2.0**-40
"""Smaller scores, zero among them, count as this: they are noise of fp32, and a logarithm needs something."""


class ScoreStore:
    """Takes scores a batch at a time, and gives the AP of every label by every neuron, for one or more labellings."""

    def __init__(self, labels: torch.Tensor, kinds: int, neurons: int, *, limit: int = LIMIT) -> None:
        """`labels` (labellings, instances): the label of each instance, in [0, kinds), as it is and as permuted.

        `limit` in bytes is the most that they may take; FEWEST_BINS are laid also where they take more.
        """
        import torch

        self._labels, self._kinds, self._neurons = labels, kinds, neurons
        self._room = min(labels.shape[1], max(2, limit // (4 * neurons)))
        self._whole = torch.empty(self._room, neurons)
        self._order: list[int] = []
        self._bins: _Bins | None = None
        self._how_many = max(FEWEST_BINS, min(MOST_BINS, limit // (4 * len(labels) * kinds * neurons)))
        self.error = 0.0

    @property
    def structure(self) -> str:
        """How the scores are kept, for people."""
        return "every score" if self._bins is None else f"{self._how_many} logarithmic bins a neuron"

    def add(self, instances: list[int], scores: torch.Tensor) -> None:
        """The scores (instances, neurons), fp32 and not negative, of some instances, named by their number."""
        if self._bins is None:
            room = self._room - len(self._order)
            self._keep(instances[:room], scores[:room])
            if len(instances) <= room:
                return
            self._bins = self._laid()
            instances, scores = instances[room:], scores[room:]
        self._bins.count(scores, self._labels[:, instances])

    def average_precision(self) -> torch.Tensor:
        """(labellings, labels, neurons) fp32."""
        if self._bins is None:
            return _of_scores(self._whole[: len(self._order)], self._labels[:, self._order], self._kinds)
        return _of_counts(self._bins.counts)

    def _keep(self, instances: list[int], scores: torch.Tensor) -> None:
        self._whole[len(self._order) : len(self._order) + len(instances)] = scores
        self._order.extend(instances)

    def _laid(self) -> _Bins:
        """Bins that have counted what was kept whole until now."""
        import torch

        labels = self._labels[:, self._order]
        bins = _Bins(self._whole, (len(labels), self._kinds, self._how_many))
        for scores, own in zip(torch.split(self._whole, _ROWS), torch.split(labels, _ROWS, dim=1), strict=True):
            bins.count(scores, own)
        exact = _of_scores(self._whole, labels[:1], self._kinds)
        self.error = float((_of_counts(bins.counts[:1]) - exact).abs().nan_to_num().max())
        self._whole = self._whole.new_empty(0)
        return bins


class _Bins:
    """Counts of instances by labelling, label, bin (the largest scores first) and neuron."""

    def __init__(self, scores: torch.Tensor, shape: tuple[int, int, int]) -> None:
        """Lay them over `scores` (instances, neurons); `shape` is labellings, labels, bins."""
        import torch

        high = scores.amax(dim=0)
        # where a neuron is silent on some texts, bins begin at what it does on others: silence goes into the last one
        loud = [torch.where(some > _LEAST, some, high).amin(dim=0) for some in torch.split(scores, _ROWS)]
        low = _log(torch.stack(loud).amin(dim=0))
        high = _log(high)
        self._top = high + 1
        self._width = (high - low + 2) / shape[-1]
        self.counts = torch.zeros(*shape, scores.shape[1], dtype=torch.int32)

    def count(self, scores: torch.Tensor, labels: torch.Tensor) -> None:
        """Scores (instances, neurons) whose labels are (labellings, instances)."""
        import torch

        many = self.counts.shape[2]
        bins = ((self._top - _log(scores)) / self._width).long().clamp(0, many - 1)
        ones = torch.ones((), dtype=torch.int32).expand(bins.shape)
        for counts, labelling in zip(self.counts, labels, strict=True):
            counts.reshape(-1, counts.shape[-1]).scatter_add_(0, labelling[:, None] * many + bins, ones)


def _log(scores: torch.Tensor) -> torch.Tensor:
    return scores.clamp(min=_LEAST).log2()


def _of_scores(scores: torch.Tensor, labels: torch.Tensor, kinds: int) -> torch.Tensor:
    import torch

    pieces = _pieces(scores.shape[1], kinds * len(scores) * len(labels))
    counts = (average_precision.by_rank(scores[:, piece], labels, kinds) for piece in pieces)
    return torch.cat([average_precision.expected(one).float() for one in counts], dim=-1)


def _of_counts(counts: torch.Tensor) -> torch.Tensor:
    import torch

    pieces = _pieces(counts.shape[-1], counts[..., 0].numel())
    return torch.cat([average_precision.expected(counts[..., piece]).float() for piece in pieces], dim=-1)


def _pieces(neurons: int, each: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // each)
    return (slice(first, first + step) for first in range(0, neurons, step))
