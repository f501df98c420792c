"""TIES: trim each delta, elect a sign for each entry, average those that have it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brickctl.core.parameters import Density, Scale
from brickctl.merging.election import ELECTION_SCRATCH, Divide, Elect, elected_formula, elected_sum
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.merging.rescaling import Rescale, rescaled
from brickctl.tensors.top_k import keep_largest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Block, Part
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value


@merge_method(
    "ties",
    space="delta",
    laws=["permutation"],
    reference="https://arxiv.org/abs/2306.01708",
    scratch=ELECTION_SCRATCH,
)
class Ties(MergeMethod):
    """Weighted mean of the trimmed deltas whose sign wins, entry by entry.

    out = scale * sum_i m_i w_i t_i / sum_i m_i w_i, all of the shape of the tensor: t_i is d_i = tuned_i - base with
    all but its floor(density * n) largest magnitudes (at least one; equal ones by index) of n entries set to 0, and
    m_i is 1 where w_i t_i has the sign of sum_i w_i t_i (0 elects plus; an entry of 0 has no sign), else 0. Where the
    divisor is 0 the sum stays undivided. These are mergekit's defaults; PEFT's `ties` is `elect = "unweighted"` with
    `divide = "count"`, and its majority by frequency is `elect = "count"` while all weights are positive.

    Args:
        density: fraction of its entries that each delta keeps.
        rescale: `l1` multiplies what is kept so that the sum of magnitudes is what it was, `density` divides it by the
            density, `none` leaves it.
        elect: `weighted` elects the sign of sum_i w_i t_i, `unweighted` that of sum_i t_i (an entry then agrees by the
            sign of t_i), `count` the sign that more of the w_i t_i have.
        divide: by the `weight` of those that agree, by their `count`, or by nothing.
        scale: factor on the result.
    """

    density: Density = 1.0
    rescale: Rescale = "none"
    elect: Elect = "weighted"
    divide: Divide = "weight"
    scale: Scale = 1.0

    def prepare_all(self, parts: Sequence[Part], tensor: str) -> Sequence[Node]:
        """Trim the deltas, each by its own density."""
        del tensor
        return [
            rescaled(part.node, kept, self.rescale, part.settings["density"])
            for part, kept in zip(parts, trimmed(parts), strict=True)
        ]

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


def trimmed(parts: Sequence[Part]) -> list[Node]:
    """Each tensor with its floor(density * n) largest entries, at least one; others are 0."""
    kept = [part.node for part in parts]
    cut = [at for at, part in enumerate(parts) if part.settings["density"] < 1.0]
    if cut:
        counts = [max(1, math.floor(parts[at].settings["density"] * kept[at].spec.elements)) for at in cut]
        for at, node in zip(cut, keep_largest_of([kept[at] for at in cut], counts), strict=True):
            kept[at] = node
    return kept
