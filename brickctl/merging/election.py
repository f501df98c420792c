"""Sums of weighted deltas in which, entry by entry, only those count whose sign is the elected one; and plain sums."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from brickctl.merging.linear import weighted_sum
from brickctl.tensors.finite import is_finite
from brickctl.tensors.strips import in_strips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Elect = Literal["weighted", "unweighted", "count"]
"""Whose sign wins: that of sum_i w_i d_i, of sum_i d_i, or of sum_i sign(w_i d_i); a sum of 0 elects plus."""

Divide = Literal["weight", "count", "none"]
"""What a sum is divided by: the weights that take part, their number, or nothing."""

ELECTION_SCRATCH = 16
"""Bytes that `elected_sum` takes for each element of a block, at most."""

_NOTHING = 1e-12
"""A sum of weights this small beside them is what rounding leaves of 0."""


def elected_sum(
    inputs: Sequence[Tensor], weights: Sequence[float], out: Tensor, *, elect: Elect, divide: Divide
) -> None:
    """Write sum_i m_i w_i d_i / divisor; overwrites the inputs d_i, each (rows, columns).

    With u_i = w_i d_i, or u_i = d_i for `unweighted`, the mask m_i is 1 where u_i is not 0 and has the elected sign,
    else 0. The divisor is sum_i m_i w_i, sum_i m_i or 1; where it is 0 (nobody takes part, or weights of both signs
    cancel) the sum stays undivided. What is not finite never loses: some such number comes out.
    """
    for *parts, result in in_strips(*inputs, out):
        if elect != "unweighted":
            for part, weight in zip(parts, weights, strict=True):
                part.mul_(weight)
        if elect == "count" and not all(map(is_finite, parts)):  # one vote among many, whatever its size
            result.fill_(math.nan)
            continue
        sign = _count_votes(parts) if elect == "count" else _sum_votes(parts)
        factors = weights if elect == "unweighted" else None
        _add_agreeing(parts, sign, result, factors)
        if divide != "none":
            _divide(result, parts, weights if divide == "weight" else [1.0] * len(parts))


def plain_sum(inputs: Sequence[Tensor], weights: Sequence[float], out: Tensor, *, divide: Divide) -> None:
    """Write sum_i w_i d_i divided by sum_i w_i, by the number of inputs, or by nothing; overwrites the inputs."""
    weighted_sum(inputs, weights, out)
    if divide != "none":
        out.div_(math.fsum(weights) if divide == "weight" else len(weights))


def no_mean(weights: Sequence[float], divide: Divide) -> str | None:
    """Why `plain_sum` has no result for these weights; None where it has."""
    if divide == "weight" and abs(math.fsum(weights)) <= _NOTHING * math.fsum(map(abs, weights)):
        return f"the weights sum to 0, and `divide` is by their sum: {list(weights)}"
    return None


def _sum_votes(inputs: Sequence[Tensor]) -> Tensor:
    """The sign of the sum, 1 or -1.

    What is above 0 and what is below are added apart, so that nothing cancels on the way: no order of up to three
    inputs elects another sign.
    """
    import torch

    above, below = inputs[0].clamp(min=0.0), inputs[0].clamp(max=0.0)
    part = torch.empty_like(above)
    for block in inputs[1:]:
        above.add_(torch.clamp(block, min=0.0, out=part))
        below.add_(torch.clamp(block, max=0.0, out=part))
    return _as_sign(above.add_(below))


def _count_votes(inputs: Sequence[Tensor]) -> Tensor:
    """The sign that more inputs have, 1 or -1."""
    import torch

    votes = inputs[0].sign()
    part = torch.empty_like(votes)
    for block in inputs[1:]:
        votes.add_(torch.sign(block, out=part))
    return _as_sign(votes)


def _as_sign(total: Tensor) -> Tensor:
    """Overwrite with -1 below 0, else with 1: a selection by mask takes ten times as long."""
    return total.lt_(0.0).mul_(-2.0).add_(1.0)


def _add_agreeing(inputs: Sequence[Tensor], sign: Tensor, out: Tensor, factors: Sequence[float] | None) -> None:
    """Write the sum of the inputs that have the sign, times factors if there are some.

    Overwrites each input with its magnitude where it takes part, else with 0.
    """
    import torch

    part = torch.empty_like(out) if factors else None
    out.zero_()
    for at, block in enumerate(inputs):
        block.mul_(sign).clamp_min_(0.0)
        out.add_(torch.mul(block, factors[at], out=part) if factors else block)
    out.mul_(sign)


def _divide(total: Tensor, agreeing: Sequence[Tensor], shares: Sequence[float]) -> None:
    """Divide by the sum of the shares of those that are not 0; overwrites them."""
    divisor, *others = (block.gt_(0.0).mul_(share) for block, share in zip(agreeing, shares, strict=True))
    for other in others:
        divisor.add_(other)
    total.div_(_without_zeros(divisor, shares))


def _without_zeros(divisor: Tensor, shares: Sequence[float]) -> Tensor:
    """Overwrite what is 0; where no shares can cancel, the sum that it divides is 0 too, and any number will do."""
    if min(shares) > 0.0:
        return divisor.clamp_min_(min(shares))
    if max(shares) < 0.0:
        return divisor.clamp_max_(max(shares))
    used = divisor.abs().gt_(_NOTHING * math.fsum(map(abs, shares)))
    return divisor.mul_(used).add_(used.neg_().add_(1.0))
