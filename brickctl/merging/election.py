"""Sums of weighted deltas in which, entry by entry, only those count whose sign is the elected one; and plain sums."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from brickctl.core.regions import BLOCK_ELEMENTS
from brickctl.merging.linear import weighted_sum, weighted_sum_formula
from brickctl.tensors.finite import is_finite
from brickctl.tensors.fused.formula import elected
from brickctl.tensors.strips import in_strips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.tensors.fused.formula import Value

Elect = Literal["weighted", "unweighted", "count"]
"""Whose sign wins: that of sum_i w_i d_i, of sum_i d_i, or of sum_i sign(w_i d_i); a sum of 0 elects plus."""

Divide = Literal["weight", "count", "none"]
"""What a sum is divided by: the weights that take part, their number, or nothing."""

_STRIP = BLOCK_ELEMENTS // 2
"""Elements that are worked on at once."""

ELECTION_SCRATCH = 24
"""Bytes that `elected_sum` takes for each element of a block, at most: strips of fp64, and masks."""

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
    for *parts, result in in_strips(*inputs, out, size=_STRIP):
        if elect != "unweighted":
            for part, weight in zip(parts, weights, strict=True):
                part.mul_(weight)
        if elect == "count" and not all(map(is_finite, parts)):  # one vote among many, whatever its size
            result.fill_(math.nan)
            continue
        votes = _count(parts) if elect == "count" else _sum(parts)
        factors = weights if elect == "unweighted" else None
        shares = None if divide == "none" else weights if divide == "weight" else [1.0] * len(parts)
        _add_agreeing(parts, votes, result, factors, shares)


def elected_formula(inputs: Sequence[Value], weights: Sequence[float], *, elect: Elect, divide: Divide) -> Value | None:
    """What `elected_sum` does to one element; not by count, nor where it is divided by weights of both signs."""
    shares = None if divide == "none" else weights if divide == "weight" else [1.0] * len(inputs)
    if elect == "count" or (shares and min(shares) <= 0.0 <= max(shares)):
        return None
    return elected(inputs, weights, shares, weighs=elect == "weighted")


def plain_sum(inputs: Sequence[Tensor], weights: Sequence[float], out: Tensor, *, divide: Divide) -> None:
    """Write sum_i w_i d_i divided by sum_i w_i, by the number of inputs, or by nothing; overwrites the inputs."""
    weighted_sum(inputs, weights, out)
    if divide != "none":
        out.div_(math.fsum(weights) if divide == "weight" else len(weights))


def plain_formula(inputs: Sequence[Value], weights: Sequence[float], *, divide: Divide) -> Value:
    """What `plain_sum` does to one element."""
    total = weighted_sum_formula(inputs, weights)
    if divide == "none":
        return total
    return total / (math.fsum(weights) if divide == "weight" else len(weights))


def no_mean(weights: Sequence[float], divide: Divide) -> str | None:
    """Why `plain_sum` has no result for these weights; None where it has."""
    if divide == "weight" and abs(math.fsum(weights)) <= _NOTHING * math.fsum(map(abs, weights)):
        return f"the weights sum to 0, and `divide` is by their sum: {list(weights)}"
    return None


def _sum(inputs: Sequence[Tensor]) -> Tensor:
    """The sum of the inputs, in their order."""
    total = inputs[0] + inputs[1] if len(inputs) > 1 else inputs[0].clone()
    for block in inputs[2:]:
        total.add_(block)
    return total


def _count(inputs: Sequence[Tensor]) -> Tensor:
    """How many more inputs are above 0 than below."""
    return _sum([block.sign() for block in inputs])


def _add_agreeing(
    inputs: Sequence[Tensor],
    votes: Tensor,
    out: Tensor,
    factors: Sequence[float] | None,
    shares: Sequence[float] | None,
) -> None:
    """Write the sum of the inputs that have the sign of the votes, times factors if there are some.

    It is divided by the sum of the shares of those inputs, if there are some. Overwrites the inputs and the votes.
    """
    import torch

    agreeing = (_Agreeing if out.is_cpu else _AgreeingOnDevice)(votes)
    mask, divisor = torch.empty_like(out), votes.zero_()
    out.zero_()
    for at, block in enumerate(inputs):
        mask.copy_(agreeing.mask(block))
        block.mul_(mask)
        out.add_(block.mul_(factors[at]) if factors else block)
        if shares:
            divisor.add_(mask.mul_(shares[at]) if shares[at] != 1.0 else mask)
    if shares:
        out.div_(_without_zeros(divisor, shares))


class _Agreeing:
    """Where entries have the sign of the votes, as bytes of 0 and 1, until those of the next block are asked for.

    NumPy compares in a fifth of torch's time, and torch turns its bytes into fp64 in a quarter of it.
    """

    def __init__(self, votes: Tensor) -> None:
        import numpy as np

        self._elected = votes.numpy() >= 0.0
        self._agrees, self._is_something = np.empty_like(self._elected), np.empty_like(self._elected)

    def mask(self, block: Tensor) -> Tensor:
        import numpy as np
        import torch

        values, agrees = block.numpy(), self._agrees
        np.equal(np.greater(values, 0.0, out=agrees), self._elected, out=agrees)
        agrees &= np.not_equal(values, 0.0, out=self._is_something)
        return torch.from_numpy(agrees.view(np.uint8))


class _AgreeingOnDevice:
    """The same where NumPy cannot look."""

    def __init__(self, votes: Tensor) -> None:
        self._elected = votes >= 0.0

    def mask(self, block: Tensor) -> Tensor:
        return ((block > 0.0) == self._elected).logical_and_(block != 0.0)


def _without_zeros(divisor: Tensor, shares: Sequence[float]) -> Tensor:
    """Overwrite what is 0; where no shares can cancel, the sum that it divides is 0 too, and any number will do."""
    if min(shares) > 0.0:
        return divisor.clamp_min_(min(shares))
    if max(shares) < 0.0:
        return divisor.clamp_max_(max(shares))
    used = divisor.abs().gt_(_NOTHING * math.fsum(map(abs, shares)))
    return divisor.mul_(used).add_(used.neg_().add_(1.0))
