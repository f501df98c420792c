"""EMR: elect the sign of the sum, entry by entry, and take the largest magnitude among the deltas that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.parameters import Scale
from brickctl.merging.method import MergeMethod, merge_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.merging.method import Block

UNIFY_SCRATCH = 34
"""Bytes that `unify` takes for each element of a block."""


@merge_method(
    "emr",
    space="delta",
    laws=["permutation", "scale"],
    reference="https://arxiv.org/abs/2405.17461",
    scratch=UNIFY_SCRATCH,
)
class Emr(MergeMethod):
    """The unified delta of EMR-Merging, and where asked for a mask and a factor that make a model for each task of it.

    out = scale * sign(sum_i w_i d_i) * max_i |w_i d_i|, entry by entry, the maximum over those w_i d_i that have the
    sign of the sum, d_i = tuned_i - base. Where the sum is 0 the result is 0, as in the paper's formula; its code takes
    the largest negative entry there.

    Args:
        scale: factor on the result.
        masks: whether to write beside the model, for each brick i, the mask m_i = 1 where d_i and out have the same
            sign, else 0, and the factor l_i = sum |d_i| / sum |m_i out|, both sums over the whole model. The model of
            its task is base + l_i m_i out.
    """

    scale: Scale = 1.0
    masks: bool = False

    @property
    def writes_masks(self) -> bool:
        """As asked for."""
        return self.masks

    def passes_through(self, weights: Sequence[float]) -> bool:
        """One delta with weight 1 is that delta."""
        return [self.scale * weight for weight in weights] == [1.0]

    def combine(self, block: Block, out: Tensor) -> None:
        """One block of the unified delta."""
        unify(block.inputs, block.weights, self.scale, out)


def unify(deltas: Sequence[Tensor], weights: Sequence[float], scale: float, out: Tensor) -> None:
    """Weigh, sum up what is above and below 0, take the extreme of the side that wins; leaves the weighed deltas.

    The two sides are added apart, so that nothing cancels on the way. What is NaN on any side stays NaN.
    """
    import torch

    above, below, lowest, part = (torch.zeros_like(out) for _ in range(4))
    out.zero_()
    for delta, weight in zip(deltas, weights, strict=True):
        delta.mul_(weight)
        above.add_(torch.clamp(delta, min=0.0, out=part))
        torch.maximum(out, part, out=out)
        below.add_(torch.clamp(delta, max=0.0, out=part).neg_())
        torch.maximum(lowest, part, out=lowest)
    up, down = torch.gt(above, below), torch.gt(below, above)
    out.mul_(up).sub_(lowest.mul_(down)).mul_(scale)
