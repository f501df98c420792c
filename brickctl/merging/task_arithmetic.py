"""Task arithmetic: add a weighted sum of deltas to the running model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.parameters import Scale
from brickctl.merging.linear import weighted_sum, weighted_sum_formula
from brickctl.merging.method import MergeMethod, merge_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.merging.method import Block
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value


@merge_method(
    "task_arithmetic", space="delta", laws=["permutation", "scale"], reference="https://arxiv.org/abs/2212.04089"
)
class TaskArithmetic(MergeMethod):
    """Weighted sum of deltas; not normalised.

    out = scale * sum_i w_i d_i, with d_i = tuned_i - base; the result is added to the running model. A negative weight
    takes a skill away.

    Args:
        scale: factor on the whole sum.
    """

    scale: Scale = 1.0

    def passes_through(self, weights: Sequence[float]) -> bool:
        """One delta with weight 1 is that delta."""
        return [self.scale * weight for weight in weights] == [1.0]

    def combine(self, block: Block, out: Tensor) -> None:
        """Sum up, then scale."""
        weighted_sum(block.inputs, block.weights, out)
        if self.scale != 1.0:
            out.mul_(self.scale)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element."""
        del statistics
        total = weighted_sum_formula(inputs, weights)
        return total * self.scale if self.scale != 1.0 else total
