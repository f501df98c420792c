"""Quartiles of a whole tensor, exactly, without sorting and without holding it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Node, Op, Statistic
from brickctl.core.regions import Spec
from brickctl.tensors.kernels import Scan, statistic_kernel
from brickctl.tensors.magnitudes import FIRST_INFINITE, HIGH_COUNT, LOW_BITS, LOW_COUNT, count_high, count_low, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.tensors.arrays import Array


def quartiles(node: Node, *, interpolate: bool) -> Statistic:
    """The quartiles of the magnitudes of a tensor, rounded to fp32: (1, 3) in fp64.

    The quartile j of n elements in ascending order lies at place j (n - 1) / 4, counted from 0. Between two elements it
    is the smaller one, or with `interpolate` what lies between them in proportion. Where the tensor holds NaN or
    infinity everything is NaN.
    """
    places = [divmod(quarter * (node.spec.elements - 1), 4) for quarter in (1, 2, 3)]
    fractions = [rest / 4 if interpolate else 0.0 for _, rest in places]
    op = Op.make("quartiles", 1, ranks=[rank for rank, _ in places], fractions=fractions)
    return Statistic(Spec(DType.F64, (1, 3)), op, (node,))


@statistic_kernel("quartiles", scratch=32, fixed=8 * (2 * HIGH_COUNT + 8 * LOW_COUNT), arrays=True)
def run_quartiles(scan: Scan, given: Sequence[Array], arguments: Mapping[str, Any]) -> Array:
    """Find the elements below and above each quartile, and go the fraction of the way."""
    import numpy as np

    del given
    ranks, fractions = arguments["ranks"], arguments["fractions"]
    above = [rank + (fraction > 0) for rank, fraction in zip(ranks, fractions, strict=True)]
    found = _at_ranks(scan, [*ranks, *above])
    lower, upper = found[: len(ranks)], found[len(ranks) :]
    between = [low + part * (high - low) for low, high, part in zip(lower, upper, fractions, strict=True)]
    return np.array([between])


def _at_ranks(scan: Scan, ranks: Sequence[int]) -> list[float]:
    """The magnitudes at these places, ascending from 0: count the upper bits, then the lower ones of their buckets."""
    high, _ = count_high(scan)
    if int(high[FIRST_INFINITE:].sum()):
        return [math.nan] * len(ranks)
    behind = high.cumsum()
    buckets = [_place(behind, rank) for rank in ranks]
    lows = count_low(scan, buckets)
    found = []
    for bucket, rank in zip(buckets, ranks, strict=True):
        inside = rank - int(behind[bucket] - high[bucket])
        found.append(value_of((bucket << LOW_BITS) + _place(lows[bucket].cumsum(), inside)))
    return found


def _place(behind: Any, rank: int) -> int:
    """Where the element of this rank lies, given how many lie at each place and below."""
    return int(behind.searchsorted(rank, side="right"))
