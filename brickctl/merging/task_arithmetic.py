"""Task arithmetic: add a weighted sum of deltas to the running model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.merging.linear import weighted_sum
from brickctl.merging.method import merge_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@merge_method(
    "task_arithmetic", space="delta", laws=["permutation", "scale"], reference="https://arxiv.org/abs/2212.04089"
)
class TaskArithmetic:
    """Weighted sum of deltas; not normalised.

    out = scale * sum_i w_i d_i, with d_i = tuned_i - base; the result is added to the running model. A negative weight
    takes a skill away.

    Args:
        scale: factor on the whole sum.
    """

    scale: float = 1.0

    def refusal(self, weights: Sequence[float]) -> str | None:  # noqa: ARG002 - every sum has a result
        """Why these weights have no result."""
        return None

    def passes_through(self, weights: Sequence[float]) -> bool:
        """Whether equal inputs with these weights come out as they went in."""
        return [self.scale * weight for weight in weights] == [1.0]

    def combine(self, inputs: Sequence[Tensor], weights: Sequence[float], out: Tensor) -> None:
        """One block: inputs n of (rows, columns) fp64, weights n; writes out (rows, columns) fp64."""
        weighted_sum(inputs, weights, out)
        if self.scale != 1.0:
            out.mul_(self.scale)
