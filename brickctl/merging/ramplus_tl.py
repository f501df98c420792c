"""RAM+ (tensor-local): RAM, with more weight for what a brick alone changes where it shares much of the tensor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Op, Statistic
from brickctl.core.parameters import Interval, Scale, Varying
from brickctl.core.regions import Spec
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.merging.ram import Epsilon, active_counts, active_entries
from brickctl.tensors.kernels import Scan, statistic_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Block, Part


_SHARED, _UNIQUE = range(2)


@merge_method(
    "ramplus_tl",
    space="delta",
    laws=["permutation"],
    reference="https://arxiv.org/abs/2601.13572",
    weighted=False,
    scratch=32,
)
class RamPlusTensorLocal(MergeMethod):
    """Mean over the active bricks; what one brick alone changes grows with how much of its change is shared.

    out = sum_i f_i a_i d_i / max(1, c), with d_i = tuned_i - base (rows, columns), a_i = 0 where |d_i| is at most
    `epsilon`, else 1, and c = sum_i a_i; f_i = 1 + r * min(S_i / U_i, alpha) where c is 1, else 1. S_i and U_i count
    the entries of the whole tensor at which brick i is active together with others and alone. The result is added to
    the running model.

    Args:
        r: how much entries that one brick alone changes grow with its overlap.
        alpha: overlap ratios S / U above this count as this.
        epsilon: entries of a delta up to this magnitude count as unchanged.
    """

    r: Scale = 0.1
    alpha: Annotated[float, Interval(0.0, math.inf), Varying()] = 0.2
    epsilon: Epsilon = 1e-5

    def prepare(self, part: Part, tensor: str) -> Node:
        """The delta without what counts as unchanged."""
        del tensor
        return active_entries(part.node, part.settings["epsilon"])

    def statistics(self, inputs: Sequence[Node], weights: Sequence[float]) -> tuple[Node, ...]:
        """How many entries each brick shares, and how many it has alone."""
        del weights
        return (overlap(inputs),)

    def combine(self, block: Block, out: Tensor) -> None:
        """Let grow what is alone, sum up, divide by the count."""
        import torch

        counts = active_counts(block.inputs)
        alone = counts == 1
        out.zero_()
        for delta, (shared, unique) in zip(block.inputs, block.statistics[0].T.tolist(), strict=True):
            factor = 1 + self.r * min(shared / max(unique, 1.0), self.alpha)
            out.add_(torch.where(alone, delta * factor, delta))
        out.div_(counts.clamp_(min=1.0))


def overlap(deltas: Sequence[Node]) -> Statistic:
    """Entries at which each delta is not 0 together with another, and alone: (2, n) in fp64, exact."""
    return Statistic(Spec(DType.F64, (2, len(deltas))), Op.make("overlap", 1, count=len(deltas)), tuple(deltas))


@statistic_kernel("overlap", scratch=16)
def run_overlap(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Count block by block."""
    import torch

    del given
    found = torch.zeros(2, arguments["count"], dtype=torch.int64)
    for deltas, _ in scan():
        alone = active_counts(deltas) == 1
        for at, delta in enumerate(deltas):
            active = delta != 0
            unique = (active & alone).count_nonzero()
            found[_UNIQUE, at] += unique
            found[_SHARED, at] += active.count_nonzero() - unique
    return found.to(torch.float64)
