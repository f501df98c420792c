"""Sparsity and coupling of bricks: how few carry a skill, and what removing one costs the others.

The paper (section 4 and its open problems) asks for both and measures neither. Here, with L_S(f) the loss on the texts
of label f of a model with the bricks S, and A all of them:

    coupling of brick i and label f = 100 (L_{A - i}(f) - L_A(f)) / L_A(f), in per cent
    fewest(f) = the smallest S with L_S(f) <= 1.05 L_A(f) + 0.01; of equally small ones that with the least loss
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Losses = Callable[[tuple[str, ...]], Sequence[float]]
    """The loss of every label, in nats a token, of a model with some of the bricks, which come in their order."""

NEAR, NOISE = 1.05, 0.01
"""What counts as the loss of all bricks: a multiple of it, and some nats, as a perfect skill has hardly any."""

FEW = 4
"""Up to so many bricks every subset is tried: 16 models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """Losses in nats a token, a row for each brick and a column for each label; `coupling` in per cent.

    A figure is NaN where a loss is, or is compared with a loss of 0. `fewest` has labels only for which there is a
    loss of all bricks to compare with.
    """

    bricks: tuple[str, ...]
    labels: tuple[str, ...]
    base: tuple[float, ...]
    all: tuple[float, ...]
    alone: tuple[tuple[float, ...], ...]
    without: tuple[tuple[float, ...], ...]
    coupling: tuple[tuple[float, ...], ...]
    fewest: Mapping[str, tuple[str, ...]]


def measure_coupling(bricks: Sequence[str], labels: Sequence[str], losses: Losses) -> Coupling:
    """Everything about some bricks; asks `losses` for one subset at a time, and may ask for one again."""
    every = tuple(bricks)
    together = tuple(losses(every))
    without = tuple(tuple(losses(_without(every, brick))) for brick in every)
    return Coupling(
        bricks=every,
        labels=tuple(labels),
        base=tuple(losses(())),
        all=together,
        alone=tuple(tuple(losses((brick,))) for brick in every),
        without=without,
        coupling=tuple(tuple(map(_change, row, together)) for row in without),
        fewest={label: found for at, label in enumerate(labels) if (found := _fewest(every, at, losses)) is not None},
    )


def certain_subsets(bricks: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The subsets that are asked for whatever comes out, each once: what an estimate of the time counts."""
    every = tuple(bricks)
    if len(every) <= FEW:
        return tuple(_by_size(every))
    return tuple(dict.fromkeys(((), *((one,) for one in every), *(_without(every, one) for one in every), every)))


def _fewest(bricks: tuple[str, ...], label: int, losses: Losses) -> tuple[str, ...] | None:
    """The first size at which a subset is near enough; of many bricks, of the subsets that a greedy search meets."""
    enough = NEAR * losses(bricks)[label] + NOISE
    if math.isnan(enough):
        return None
    candidates = _by_size(bricks) if len(bricks) <= FEW else _greedy(bricks, label, losses)
    near = [subset for subset in candidates if losses(subset)[label] <= enough]
    return min(near, key=lambda subset: (len(subset), losses(subset)[label]))


def _by_size(bricks: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for size in range(len(bricks) + 1):
        yield from combinations(bricks, size)


def _greedy(bricks: tuple[str, ...], label: int, losses: Losses) -> Iterator[tuple[str, ...]]:
    """Bricks one after another, first that which does most for the label alone; ends where it is near enough."""
    enough = NEAR * losses(bricks)[label] + NOISE
    best = sorted(bricks, key=lambda brick: _worst_last(losses((brick,))[label]))
    for count in range(len(bricks) + 1):
        subset = tuple(brick for brick in bricks if brick in best[:count])
        yield subset
        if losses(subset)[label] <= enough:
            return


def _worst_last(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def _without(bricks: tuple[str, ...], brick: str) -> tuple[str, ...]:
    return tuple(other for other in bricks if other != brick)


def _change(loss: float, before: float) -> float:
    return 100 * (loss - before) / before if before else math.nan
