"""Breadcrumbs with TIES: drop the largest and the smallest entries of each delta, sum up those whose sign wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Density, Interval, Scale, Varying
from brickctl.merging.election import ELECTION_SCRATCH, Divide, Elect, elected_formula, elected_sum
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


@merge_method(
    "breadcrumbs_ties",
    space="delta",
    laws=["permutation"],
    reference="https://arxiv.org/abs/2312.06795",
    scratch=ELECTION_SCRATCH,
)
class BreadcrumbsTies(MergeMethod):
    """Weighted sum of the middles of deltas whose sign wins, entry by entry.

    out = scale * sum_i m_i w_i t_i, all of the shape of the tensor: t_i is the middle of a delta as in
    `breadcrumbs`, and m_i is 1 where w_i t_i has the sign of sum_i w_i t_i (0 elects plus; an entry of
    0 has no sign), else 0. Not divided by default, as in mergekit; where a divisor that was asked for is 0 the sum
    stays undivided.

    Args:
        density: fraction of its entries that each delta keeps.
        gamma: fraction of its entries, the largest, that each delta drops before; less where the density leaves less.
        rescale: `l1` multiplies what is kept so that the sum of magnitudes is what it was, `density` divides it by the
            density, `none` leaves it.
        elect: `weighted` elects the sign of sum_i w_i t_i, `unweighted` that of sum_i t_i (an entry then agrees by the
            sign of t_i), `count` the sign that more of the w_i t_i have.
        divide: by the `weight` of those that agree, by their `count`, or by nothing.
        scale: factor on the result.
    """

    density: Density = 1.0
    gamma: Annotated[float, Interval(0.0, 1.0), Varying(each=True)] = 0.01
    rescale: Rescale = "none"
    elect: Elect = "weighted"
    divide: Divide = "none"
    scale: Scale = 1.0

    def prepare(self, part: Part, tensor: str) -> Node:
        """Keep the middle of a delta."""
        del tensor
        density = part.settings["density"]
        return rescaled(part.node, keep_middle(part.node, density, part.settings["gamma"]), self.rescale, density)

    def combine(self, block: Block, out: Tensor) -> None:
        """Elect, sum up, divide, scale."""
        elected_sum(block.inputs, block.weights, out, elect=self.elect, divide=self.divide)
        if self.scale != 1.0:
            out.mul_(self.scale)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element."""
        del statistics
        total = elected_formula(inputs, weights, elect=self.elect, divide=self.divide)
        return total * self.scale if total is not None and self.scale != 1.0 else total
