"""Sums of weighted deltas in which, entry by entry, only those count whose sign is the elected one; and plain sums."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from brickctl.merging.linear import weighted_sum
from brickctl.tensors.finite import is_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Elect = Literal["weighted", "unweighted", "count"]
"""Whose sign wins: that of sum_i w_i d_i, of sum_i d_i, or of sum_i sign(w_i d_i); a sum of 0 elects plus."""

Divide = Literal["weight", "count", "none"]
"""What a sum is divided by: the weights that take part, their number, or nothing."""

ELECTION_SCRATCH = 24
"""Bytes that `elected_sum` takes for each element of a block."""

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
    import torch

    if elect != "unweighted":
        for block, weight in zip(inputs, weights, strict=True):
            block.mul_(weight)
    if elect == "count" and not all(map(is_finite, inputs)):  # one vote among many, whatever its size
        out.fill_(math.nan)
        return
    sign = _count_votes(inputs) if elect == "count" else _sum_votes(inputs)
    scaled = torch.empty_like(out) if elect == "unweighted" else None
    divisor = None if divide == "none" else torch.zeros_like(out)
    out.zero_()
    for block, weight in zip(inputs, weights, strict=True):
        block.mul_(sign).clamp_min_(0.0)  # |u_i| where it takes part, else 0
        out.add_(block if scaled is None else torch.mul(block, weight, out=scaled))
        if divisor is not None:
            divisor.add_(block.gt_(0.0).mul_(weight if divide == "weight" else 1.0))
    out.mul_(sign)
    if divisor is not None:
        out.div_(_safe(divisor, _least(weights) if divide == "weight" else 0.0))


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

    above, below, part = torch.zeros_like(inputs[0]), torch.zeros_like(inputs[0]), torch.empty_like(inputs[0])
    for block in inputs:
        above.add_(torch.clamp(block, min=0.0, out=part))
        below.add_(torch.clamp(block, max=0.0, out=part))
    return _as_sign(above.add_(below))


def _count_votes(inputs: Sequence[Tensor]) -> Tensor:
    """The sign that more inputs have, 1 or -1."""
    import torch

    votes, part = torch.zeros_like(inputs[0]), torch.empty_like(inputs[0])
    for block in inputs:
        votes.add_(torch.sign(block, out=part))
    return _as_sign(votes)


def _as_sign(total: Tensor) -> Tensor:
    """Overwrite with -1 below 0, else with 1: a selection by mask takes ten times as long."""
    return total.lt_(0.0).mul_(-2.0).add_(1.0)


def _least(weights: Sequence[float]) -> float:
    """The size up to which a sum of some of the weights is 0: only weights of both signs can cancel."""
    return _NOTHING * math.fsum(map(abs, weights)) if min(weights) < 0.0 < max(weights) else 0.0


def _safe(divisor: Tensor, least: float) -> Tensor:
    """Overwrite what is not larger than `least` with 1."""
    used = divisor.abs().gt_(least)
    return divisor.mul_(used).add_(used.neg_().add_(1.0))
