"""Levels: the few colours that the values of a plot fall into, each with its range in the legend.

A plot of levels can be read back: who sees a colour finds its range. Between two colours of a gradient nobody can.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from brickctl.pages import colours

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """`names[i]` is the range from `bounds[i - 1]` up to, and without, `bounds[i]`; `shades[i]` is its colour."""

    bounds: tuple[float, ...]
    names: tuple[str, ...]
    shades: tuple[str, ...]

    def of(self, value: float) -> str:
        """The name of the level that a value falls into."""
        return self.names[bisect_right(self.bounds, value)]


def shares(bounds: Sequence[float]) -> Levels:
    """Levels of shares of 1, on the ramp from little to much; their names are in per cent, without the sign."""
    count = len(bounds) + 1
    at = [round(step * (colours.STEPS - 1) / max(1, count - 1)) for step in range(count)]
    return _levels(bounds, tuple(f"ramp-{step}" for step in at), unit=100)


def even_shares(greatest: float) -> Levels:
    """Eight even levels from 0 to at least `greatest`, whose bounds are round."""
    step = _round_up(max(greatest, 1e-6) / 8)
    return shares([step * at for at in range(1, 8)])


NONE = 2.0
"""A change of fewer per cent counts as none."""

NOISE = 0.01
"""Nor does a loss change where it does so by fewer nats: a perfect skill has hardly any loss to be a share of."""

CHANGES = (-10.0, -NONE, NONE, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0)
"""Bounds of changes in per cent."""


def changes() -> Levels:
    """Levels of changes in per cent, whose names leave out the sign: two below zero, one about zero, seven above."""
    warm = tuple(f"more-{at}" for at in range(colours.MORE))
    return _levels(CHANGES, ("less-1", "less-0", "even", *warm), unit=1)


def _levels(bounds: Sequence[float], shades: tuple[str, ...], *, unit: float) -> Levels:
    words = [f"{unit * bound:.6g}".replace("-", "\N{MINUS SIGN}") for bound in bounds]
    inner = (f"{low} to {high}" for low, high in pairwise(words))
    names = (f"below {words[0]}", *inner, f"from {words[-1]}")
    return Levels(bounds=tuple(bounds), names=names, shades=shades)


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0**-12
    while value > 10 * power:
        power *= 10
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if value <= factor * power * (1 + 1e-9))
