"""DARE with TIES: drop entries of each delta at random, rescale the others, average those whose sign wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.parameters import Density, Scale
from brickctl.merging.election import ELECTION_SCRATCH, Divide, Elect, elected_formula, elected_sum
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.merging.rescaling import Rescale
from brickctl.merging.thinning import thinned
from brickctl.tensors.draws import stream_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Block, Part
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value


@merge_method(
    "dare_ties",
    space="delta",
    laws=["permutation"],
    reference="https://arxiv.org/abs/2311.03099",
    scratch=ELECTION_SCRATCH,
)
class DareTies(MergeMethod):
    """Weighted mean of randomly thinned deltas whose sign wins, entry by entry.

    out = scale * sum_i m_i w_i t_i / sum_i m_i w_i, all of the shape of the tensor: t_i = r_i b_i d_i is the thinned
    delta of `dare_linear`, and m_i is 1 where w_i t_i has the sign of sum_i w_i t_i (0 elects plus; an
    entry of 0 has no sign), else 0. Where the divisor is 0 the sum stays undivided. mergekit does not divide unless
    `normalize` is set: its default is `divide = "none"`. PEFT's `dare_ties` is `rescale = "density"` with
    `elect = "unweighted"` and `divide = "count"`.

    Args:
        density: probability with which an entry is kept, in steps of 2^-16.
        rescale: `l1` multiplies what is kept so that the sum of magnitudes is what it was, which is mergekit's;
            `density` divides it by the density, as in the paper, `none` leaves it.
        elect: `weighted` elects the sign of sum_i w_i t_i, `unweighted` that of sum_i t_i (an entry then agrees by the
            sign of t_i), `count` the sign that more of the w_i t_i have.
        divide: by the `weight` of those that agree, by their `count`, or by nothing.
        scale: factor on the result.
        seed: of the draws.
    """

    density: Density = 1.0
    rescale: Rescale = "l1"
    elect: Elect = "weighted"
    divide: Divide = "weight"
    scale: Scale = 1.0
    seed: int = 0

    def prepare_all(self, parts: Sequence[Part], tensor: str) -> Sequence[Node]:
        """Thin the deltas."""
        return thinned(parts, lambda part: stream_key(self.seed, part.brick, self.declared.name, tensor), self.rescale)

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
