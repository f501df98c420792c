"""Breadcrumbs: drop the largest and the smallest entries of each delta, sum up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Density, Interval, Scale, Varying
from brickctl.merging.election import Divide, no_mean, plain_formula, plain_sum
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.merging.outliers import keep_middle
from brickctl.merging.rescaling import Rescale, rescaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Block, Part
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value


@merge_method("breadcrumbs", space="delta", laws=["permutation", "scale"], reference="https://arxiv.org/abs/2312.06795")
class Breadcrumbs(MergeMethod):
    """Weighted sum of the middles of deltas.

    out = scale * sum_i w_i t_i, all of the shape of the tensor: t_i is d_i = tuned_i - base with all of its n entries
    set to 0 but k = floor(density * n), at least one: those that follow, in the order of falling magnitudes (equal ones
    by index), the min(floor(gamma * n), n - k) largest.

    Args:
        density: fraction of its entries that each delta keeps.
        gamma: fraction of its entries, the largest, that each delta drops before; less where the density leaves less.
        rescale: `l1` multiplies what is kept so that the sum of magnitudes is what it was, `density` divides it by the
            density, `none` leaves it.
        divide: by the sum of all w_i (`weight`), by the number of deltas (`count`), or by nothing.
        scale: factor on the result.
    """

    density: Density = 1.0
    gamma: Annotated[float, Interval(0.0, 1.0), Varying(each=True)] = 0.01
    rescale: Rescale = "none"
    divide: Divide = "none"
    scale: Scale = 1.0

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Weights that sum to 0 divide nothing."""
        return no_mean(weights, self.divide)

    def prepare(self, part: Part, tensor: str) -> Node:
        """Keep the middle of a delta."""
        del tensor
        density = part.settings["density"]
        return rescaled(part.node, keep_middle(part.node, density, part.settings["gamma"]), self.rescale, density)

    def combine(self, block: Block, out: Tensor) -> None:
        """Sum up, divide, scale."""
        plain_sum(block.inputs, block.weights, out, divide=self.divide)
        if self.scale != 1.0:
            out.mul_(self.scale)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element."""
        del statistics
        total = plain_formula(inputs, weights, divide=self.divide)
        return total * self.scale if self.scale != 1.0 else total
