"""Linear: the weighted mean of models ("model soup")."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brickctl.merging.method import MergeMethod, merge_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.merging.method import Block
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value


_NOTHING = 1e-12
"""A sum this small beside its terms is what rounding leaves of 0."""


@merge_method(
    "linear", space="weight", laws=["permutation", "idempotence"], reference="https://arxiv.org/abs/2203.05482"
)
class Linear(MergeMethod):
    """Weighted mean, or weighted sum, of whole models.

    out = sum_i w_i x_i / sum_i w_i with `normalize`, else sum_i w_i x_i, with x_i the tensor of model i. The running
    model takes part only where it is named `base`; an adapter stands for the base with that adapter merged.

    Args:
        normalize: divide by the sum of the weights.
    """

    normalize: bool = True

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Weights that sum to 0 have no mean."""
        total, size = math.fsum(weights), math.fsum(map(abs, weights))
        if self.normalize and abs(total) <= _NOTHING * size:
            return f"the weights sum to 0, so there is no mean: {list(weights)}"
        return None

    def passes_through(self, weights: Sequence[float]) -> bool:
        """A mean of equal models is that model."""
        return self.normalize or math.fsum(weights) == 1.0

    def combine(self, block: Block, out: Tensor) -> None:
        """Sum up, then divide."""
        (weighted_mean if self.normalize else weighted_sum)(block.inputs, block.weights, out)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element."""
        del statistics
        return (weighted_mean_formula if self.normalize else weighted_sum_formula)(inputs, weights)


def weighted_mean(inputs: Sequence[Tensor], weights: Sequence[float], out: Tensor) -> None:
    """Write sum_i w_i x_i / sum_i w_i; overwrites the inputs."""
    weighted_sum(inputs, weights, out)
    out.div_(math.fsum(weights))


def weighted_mean_formula(inputs: Sequence[Value], weights: Sequence[float]) -> Value:
    """The same for one element."""
    return weighted_sum_formula(inputs, weights) / math.fsum(weights)


def not_above_zero(weights: Sequence[float]) -> str | None:
    """Why shares that are made of these weights might cancel; None where they cannot."""
    if min(weights, default=1.0) > 0.0:
        return None
    return f"a weight below 0 gives a model no share of a mean: {list(weights)}"


def weighted_sum(inputs: Sequence[Tensor], weights: Sequence[float | Tensor], out: Tensor) -> None:
    """Write sum_i w_i x_i, multiplication and addition apart, in the order given; overwrites the inputs.

    A weight is a number, or one for each row (rows, 1) or for each column (1, columns).
    """
    import torch

    torch.mul(inputs[0], weights[0], out=out)
    for block, weight in zip(inputs[1:], weights[1:], strict=True):
        out.add_(block.mul_(weight))


def weighted_sum_formula(inputs: Sequence[Value], weights: Sequence[float | Value]) -> Value:
    """The same for one element."""
    total = inputs[0] * weights[0]
    for value, weight in zip(inputs[1:], weights[1:], strict=True):
        total += value * weight
    return total
