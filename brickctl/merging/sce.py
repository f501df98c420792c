"""SCE: select where the bricks differ most, calculate weights from what is left, erase the signs that lose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Op, Statistic
from brickctl.core.parameters import Fraction, Interval, Varying
from brickctl.core.regions import Spec, block_height
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.tensors.angles import square_root_
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel
from brickctl.tensors.strips import total_of
from brickctl.tensors.top_k import limits, run_keep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.core.regions import Region
    from brickctl.merging.method import Block


@merge_method(
    "sce",
    space="delta",
    laws=["permutation"],
    reference="https://arxiv.org/abs/2408.07990",
    weighted=False,
    complete=True,
    scratch=48,
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

    whole_rows = True

    select_topk: Fraction = 1.0
    tolerance: Annotated[float, Interval(0.0, math.inf), Varying()] = 1e-6

    def statistics(self, inputs: Sequence[Node], weights: Sequence[float]) -> tuple[Node, ...]:
        """The energies of what is selected, and what tells it from the rest."""
        del weights
        selected = () if self.select_topk >= 1.0 else (_limits(inputs, self.select_topk),)
        return (_energies(inputs, selected), *selected)

    def combine(self, block: Block, out: Tensor) -> None:
        """Elect signs, then add up those that agree, and their weights."""
        import torch

        energies, *selected = block.statistics
        for found in selected:
            _select(block.inputs, found, block.region)
        out.zero_()
        for delta in block.inputs:
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


def _limits(deltas: Sequence[Node], share: float) -> Statistic:
    """What tells the share of the entries that vary most."""
    spread = Map(deltas[0].spec, Op.make("spread", 1), tuple(map(Input, deltas)))
    return limits((spread,), (share,), of_nonzero=True)


def _energies(deltas: Sequence[Node], selected: tuple[Node, ...]) -> Statistic:
    """The mean square of each delta where it is selected: (1, n)."""
    count = len(deltas)
    op = Op.make("energies", 1, count=count, elements=deltas[0].spec.elements)
    return Statistic(Spec(DType.F64, (1, count)), op, tuple(deltas), selected, whole_rows=True)


@statistic_kernel("energies", scratch=48)
def run_energies(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Add the squares of each block as a binary tree, and the blocks in order."""
    import torch

    total = torch.zeros(1, arguments["count"], dtype=torch.float64)
    for deltas, region in scan():
        for found in given:
            _select(deltas, found, region)
        for at, delta in enumerate(deltas):
            total[0, at] += total_of(delta.mul_(delta))
    return total.div_(arguments["elements"])


def _select(deltas: Sequence[Tensor], found: Tensor, region: Region) -> None:
    """Set to 0, in blocks of whole rows, what does not vary enough; all is NaN where a delta holds NaN."""
    spread = _spread(deltas)
    height = block_height(Spec(DType.F64, region.shape))
    run_keep((spread, found), spread, {"height": height, "number": 0, "mark": True}, region)
    for delta in deltas:
        delta.mul_(spread)


@kernel("spread", scratch=24, overwrites=False)
def run_spread(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Write the standard deviation of the inputs at every entry."""
    del arguments, block
    out.copy_(_spread(inputs))


def _spread(deltas: Sequence[Tensor]) -> Tensor:
    """sqrt(sum_i (x_i - mean)^2 / n): the order of the variances without their underflow; 0 where all are equal."""
    import torch

    first = deltas[0]
    mean, spread = torch.zeros_like(first), torch.zeros_like(first)
    for delta in deltas[1:]:
        mean.add_(delta - first)  # beside the first: of equal numbers the differences are exactly 0
    mean.div_(len(deltas))
    for delta in deltas:
        offset = (delta - first).sub_(mean)
        spread.add_(offset.mul_(offset))
    return square_root_(spread.div_(len(deltas)))
