"""SCE: select where the bricks differ most, calculate weights from what is left, erase the signs that lose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Access, Input, Map, Op, Spec, Statistic
from brickctl.core.parameters import Fraction, Interval, Varying
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.tensors.gram import total_of
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel
from brickctl.tensors.top_k import largest_share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node, Region
    from brickctl.merging.method import Block, Part


@merge_method(
    "sce",
    space="delta",
    laws=["permutation"],
    reference="https://arxiv.org/abs/2408.07990",
    weighted=False,
    complete=True,
    scratch=40,
)
class Sce(MergeMethod):
    """Mean of deltas weighted by their energy, where they vary most, of the entries whose sign wins.

    out = sum_i w_i a_i d_i / sum_i w_i a_i, 0 where no a_i is 1, with d_i = s * (tuned_i - base) (rows, columns). The
    mask s is 1 at the `select_topk` share of those entries at which the deltas vary at all, by their variance over the
    bricks (divided by n; floor(share * number), at least 1, ties by index), and everywhere when `select_topk` is 1.
    w_i = mean(d_i^2) / sum_j mean(d_j^2), over the whole tensor, or 1/n each where that sum is below `tolerance`.
    a_i = 1 where d_i has the sign of sum_j d_j (a sum of 0 counts as plus), which no zero has. A brick that does not
    change the tensor takes part with zeros. The result is added to the running model.

    Where all bricks are equal nothing varies, so a `select_topk` below 1 selects nothing.

    Args:
        select_topk: share of the varying entries that are selected, in each tensor.
        tolerance: below this sum of mean squares all bricks weigh the same, as in mergekit; deltas of a short
            fine-tune are often smaller. With 0 the energies always decide, as in the paper.
    """

    select_topk: Fraction = 1.0
    tolerance: Annotated[float, Interval(0.0, math.inf), Varying()] = 1e-6

    def node(self, parts: Sequence[Part], tensor: str) -> Node:
        """The deltas, a mask where only a part is selected, and the energies of what is selected."""
        del tensor
        deltas = [part.node for part in parts]
        spread = Map(deltas[0].spec, Op.make("spread", 1), tuple(map(Input, deltas)))
        selected = () if self.select_topk >= 1.0 else (largest_share(spread, self.select_topk),)
        found = Input(_energies(deltas, selected), Access.ALL)
        return self.block_by_block(deltas, parts, (*map(Input, selected), found))

    def combine(self, block: Block, out: Tensor) -> None:
        """Elect signs, then add up those that agree, and their weights."""
        import torch

        *selected, energies = block.statistics
        out.zero_()
        for delta in block.inputs:
            for mask in selected:
                delta.mul_(mask)
            out.add_(delta)
        elected = (out >= 0).to(out.dtype).mul_(2.0).sub_(1.0)
        divisor = torch.zeros_like(out)
        out.zero_()
        for delta, weight in zip(block.inputs, self._weights(energies[0].tolist()), strict=True):
            share = (torch.sign(delta) == elected).to(out.dtype).mul_(weight)
            divisor.add_(share)
            out.add_(delta.mul_(share))
        out.div_(divisor.masked_fill_(divisor == 0, 1.0))

    def _weights(self, energies: Sequence[float]) -> list[float]:
        total = math.fsum(energies)
        if total == 0.0 or total < self.tolerance:
            return [1.0 / len(energies)] * len(energies)
        return [energy / total for energy in energies]


def _energies(deltas: Sequence[Node], selected: Sequence[Node]) -> Statistic:
    """The mean square of each delta where it is selected: (1, n)."""
    op = Op.make("energies", 1, count=len(deltas), elements=deltas[0].spec.elements)
    return Statistic(Spec(DType.F64, (1, len(deltas))), op, (*deltas, *selected))


@statistic_kernel("energies", scratch=24)
def run_energies(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Add the squares of each block as a binary tree, and the blocks in order."""
    import torch

    del given
    count = arguments["count"]
    found = torch.zeros(1, count, dtype=torch.float64)
    for inputs, _ in scan():
        for at, delta in enumerate(inputs[:count]):
            for mask in inputs[count:]:
                delta.mul_(mask)
            found[0, at] += total_of(delta.mul_(delta))
    return found.div_(arguments["elements"])


@kernel("spread", scratch=8)
def run_spread(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Write the standard deviation, sqrt(sum_i (x_i - mean)^2 / n): the order of the variances, without underflow."""
    import torch

    del arguments, block
    mean = torch.zeros_like(out)
    for tensor in reversed(inputs):  # the first comes last: beside it, equal tensors have differences of exactly 0
        mean.add_(tensor.sub_(inputs[0]))
    mean.div_(len(inputs))
    out.zero_()
    for tensor in inputs:
        tensor.sub_(mean)
        out.add_(tensor.mul_(tensor))
    out.div_(len(inputs)).sqrt_()
