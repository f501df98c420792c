"""Functionality scores: how well the activation of one neuron tells which instances need a functionality.

FuncScore(n, f) is the average precision, over instances, of the mean over the prompt's tokens of |a_n|, against the
label "this instance needs f" (arXiv 2409.02877, section 4).

The mean leaves out the first token of a text, of which the paper says nothing. Attention uses it as a sink, and a few
neurons are far more active on it than on any other: as there is one in each text, their mean is a measure of its
length. On SmolLM2-135M they were the best neurons for the shortest texts, and pruning them raised every perplexity
(`tests/benchmarks/README.md`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.analysis.activations import locating, require_finite
from brickctl.analysis.average_precision import of_random_ranking
from brickctl.analysis.batches import batches, on_device, unwatched
from brickctl.analysis.score_store import LIMIT, ScoreStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.instances import Instances

PERMUTATIONS = (0, 1, 2)
_TOP = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FuncScores:
    """The scores of every neuron, one FFN after the other, and the same for permuted labels.

    `scores` (labels, neurons) and `null` (permutations, labels, neurons) are fp32, in [0, 1]. `structure` says how
    the mean activations were kept, `error` how far the average precision of some was off for it.
    """

    ffns: tuple[Ffn, ...] = field(repr=False)
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    scores: torch.Tensor = field(repr=False)
    null: torch.Tensor = field(repr=False)
    structure: str
    error: float

    def by_ffn(self) -> tuple[torch.Tensor, ...]:
        """The scores of each FFN, (labels, neurons)."""
        import torch

        return torch.split(self.scores, [ffn.neurons for ffn in self.ffns], dim=1)

    def document(self) -> dict[str, Any]:
        """The section `specialisation` of an analysis, as JSON."""
        instances = sum(self.counts)
        counted = dict(zip(self.labels, self.counts, strict=True))
        return {
            "labels": list(self.labels),
            "prevalence": {label: count / instances for label, count in counted.items()},
            "random": {label: of_random_ranking(count, instances) for label, count in counted.items()},
            "layers": [row for one in zip(self.ffns, self.by_ffn(), strict=True) for row in self._layer(*one)],
            "top": {label: self._top(at) for at, label in enumerate(self.labels)},
            "structure": self.structure,
            "error": self.error,
        }

    def _layer(self, ffn: Ffn, scores: torch.Tensor) -> list[dict[str, Any]]:
        return [
            {"layer": ffn.layer, "expert": ffn.expert, "label": label, "best": best, "mean": mean}
            for label, best, mean in zip(
                self.labels, scores.amax(dim=1).tolist(), scores.mean(dim=1).tolist(), strict=True
            )
        ]

    def _top(self, label: int) -> list[dict[str, Any]]:
        """The neurons that score best for a label, of all layers."""
        best = self.scores[label].argsort(descending=True, stable=True)[:_TOP].tolist()
        places = [(ffn, neuron) for ffn in self.ffns for neuron in range(ffn.neurons)]
        return [
            {"layer": ffn.layer, "expert": ffn.expert, "neuron": neuron, "score": float(self.scores[label, at])}
            for at, (ffn, neuron) in ((at, places[at]) for at in best)
        ]


def func_scores(
    ffns: Sequence[Ffn],
    instances: Instances,
    *,
    permutations: Sequence[int] = PERMUTATIONS,
    batch_size: int = 8,
    limit: int = LIMIT,
    watch: Watch = unwatched,
) -> FuncScores:
    """Score every neuron for every label, in one pass over the instances.

    In the same pass they are scored for labels that were permuted over the instances, once for each seed in
    `permutations`: what chance alone gives. `limit` in bytes is the most that mean activations take before they are
    counted in bins (see `score_store`). An expert has no activation on tokens that were routed past it.

    Raises:
        Unsupported: an activation is not finite.
    """
    labellings = _labellings(instances, permutations)
    store = ScoreStore(labellings, len(instances.labels), sum(ffn.neurons for ffn in ffns), limit=limit)
    for batch in _mixed(instances.rows, batch_size):
        rows = [instances.rows[at] for at in batch]
        store.add(batch, _mean_activations(ffns, rows))
        watch(sum(map(len, rows)))
    scores = store.average_precision()
    return FuncScores(
        ffns=tuple(ffns),
        labels=instances.labels,
        counts=instances.counts,
        scores=scores[0],
        null=scores[1:],
        structure=store.structure,
        error=store.error,
    )


def _labellings(instances: Instances, seeds: Sequence[int]) -> torch.Tensor:
    """The labels as they are, then permuted by each seed: (1 + seeds, instances)."""
    import torch

    labels = torch.tensor(instances.labels_of)
    orders = [torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack([labels, *(labels[order] for order in orders)])


def _mixed(rows: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """Batches in random order: the first instances, whose scores say where bins lie, are no shorter than the others."""
    import torch

    found = list(batches(rows, batch_size))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    return [found[at] for at in order.tolist()]


def _mean_activations(ffns: Sequence[Ffn], rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """The mean of |a| over all tokens of each row but the first: (rows, neurons of all FFNs) fp32, on the CPU."""
    import torch

    decoder = ffns[0].decoder
    ids, mask = on_device(decoder, rows)
    sums = [torch.zeros(len(rows), ffn.neurons, device=ids.device) for ffn in ffns]

    def hear(index: int, activations: torch.Tensor, places: torch.Tensor) -> None:
        counted = places % ids.shape[1] > 0
        sums[index].index_add_(0, (places // ids.shape[1])[counted], activations[counted].float().abs())

    with torch.inference_mode(), locating(ffns, hear):
        decoder(input_ids=ids, attention_mask=mask, use_cache=False)
    for ffn, one in zip(ffns, sums, strict=True):
        require_finite(ffn, one)
    return (torch.cat(sums, dim=1) / (mask.sum(dim=1, keepdim=True) - 1)).cpu()
