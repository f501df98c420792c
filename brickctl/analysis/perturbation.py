"""Perturbation: what silencing the neurons that score best for one functionality costs each of them.

A cell is (PPL_pruned - PPL) / PPL in percent; rows are what was pruned for, columns what was measured (arXiv
2409.02877, section 4, which prunes the best 5 %). The same share of every FFN is pruned. Some neurons carry
everything, so a random choice costs a lot now and then: it is made several times, and the median says what pruning
costs by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from brickctl.analysis.activations import masking
from brickctl.analysis.partition import how_many, top_sets
from brickctl.analysis.perplexity import LARGEST, of_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.specialisation import FuncScores

    Losses = tuple[float, ...]
    Measure = Callable[[str, Callable[[], Losses]], Losses]

SHARES = (0.01, 0.02, 0.05)
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedShare:
    """Changes of perplexity in percent: `change` (label pruned, measured), `controls` (random set, measured)."""

    share: float
    change: tuple[tuple[float, ...], ...]
    controls: tuple[tuple[float, ...], ...]

    @property
    def control(self) -> tuple[float, ...]:
        """The median over seeds of each column."""
        return tuple(median(column) for column in zip(*self.controls, strict=True))

    def document(self) -> dict[str, Any]:
        """One of `perturbation.shares` of an analysis, as JSON."""
        return {
            "share": self.share,
            "change": [list(row) for row in self.change],
            "control": list(self.control),
            "controls": [list(row) for row in self.controls],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation:
    """`losses` of the whole model, in nats a token, and what pruning changes, for each share."""

    labels: tuple[str, ...]
    losses: tuple[float, ...]
    shares: tuple[PrunedShare, ...]

    def document(self) -> dict[str, Any]:
        """The section `perturbation` of an analysis, as JSON."""
        return {
            "labels": list(self.labels),
            "perplexity": [of_loss(loss) for loss in self.losses],
            "shares": [one.document() for one in self.shares],
        }


def measured(_: str, losses: Callable[[], Losses]) -> Losses:
    """A `Measure`, which gives the losses of one piece of work by its name, that remembers none."""
    return losses()


def perturbation(
    found: FuncScores,
    losses: Callable[[], Losses],
    *,
    shares: Sequence[float] = SHARES,
    seeds: Sequence[int] = SEEDS,
    measure: Measure = measured,
) -> Perturbation:
    """Prune for each label of `found`, and measure what the model then loses on all of them.

    `losses` measures the model as it is at the time (`perplexity.mean_losses`), a number for each label of `found`.
    It is called once, and for each share once for each label and each seed; `measure(name, losses)` may answer from
    what it remembers instead. On texts that the scores were made from, the result says how the model treats what was
    looked at; on others, how far that holds.
    """
    whole = measure("whole", losses)

    def changes(choices: Iterator[tuple[str, Sequence[torch.Tensor]]]) -> tuple[tuple[float, ...], ...]:
        pruned = (measure(name, partial(_losses_without, found.ffns, masks, losses)) for name, masks in choices)
        return tuple(_percent(whole, after) for after in pruned)

    pruned = tuple(
        PrunedShare(
            share=share, change=changes(_best(found, share)), controls=changes(_random(found.ffns, share, seeds))
        )
        for share in shares
    )
    return Perturbation(labels=found.labels, losses=whole, shares=pruned)


def random_sets(ffns: Sequence[Ffn], share: float, seed: int) -> tuple[torch.Tensor, ...]:
    """For each FFN, a random share of its neurons, (neurons,) bool: as many as `top_sets` takes."""
    import torch

    random = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(ffn.neurons, generator=random) for ffn in ffns]
    return tuple(order < how_many(ffn, share) for order, ffn in zip(orders, ffns, strict=True))


def _losses_without(ffns: Sequence[Ffn], masks: Sequence[torch.Tensor], losses: Callable[[], Losses]) -> Losses:
    with masking(ffns, masks):
        return losses()


def _best(found: FuncScores, share: float) -> Iterator[tuple[str, Sequence[torch.Tensor]]]:
    sets = top_sets(found.scores, found.ffns, share)
    for at, label in enumerate(found.labels):
        yield f"{share}/label/{label}", [one[at] for one in sets]


def _random(ffns: Sequence[Ffn], share: float, seeds: Sequence[int]) -> Iterator[tuple[str, Sequence[torch.Tensor]]]:
    for seed in seeds:
        yield f"{share}/random/{seed}", random_sets(ffns, share, seed)


def _percent(whole: Losses, pruned: Losses) -> tuple[float, ...]:
    """(PPL_pruned - PPL) / PPL = exp(difference of the losses) - 1, in percent."""
    grown = (after - before for before, after in zip(whole, pruned, strict=True))
    return tuple(math.inf if change > LARGEST else 100 * math.expm1(change) for change in grown)
