"""Consensus: the sum of all deltas, where enough bricks want it (TALL masks)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Interval, Scale, Varying
from brickctl.merging.method import ANY_NUMBER, MergeMethod, merge_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.merging.method import Block


@merge_method(
    "consensus",
    space="delta",
    laws=["permutation", "scale"],
    reference="https://arxiv.org/abs/2405.07813",
    bricks=(2, ANY_NUMBER),
    complete=True,
    scratch=40,
)
class Consensus(MergeMethod):
    """Weighted sum of deltas, without the entries that fewer than `agree` bricks use.

    out = scale * s * [sum_i m_i >= agree], with d_i = tuned_i - base (rows, columns), s = sum_i w_i d_i, and the TALL
    mask m_i = 1 where |w_i d_i| >= threshold_i * |s - w_i d_i|, else 0: a brick uses an entry where its own part of the
    sum is not small beside what the others put there. With agree = 1 only what no brick uses is dropped ("catastrophic"
    entries), with 2 what a single one uses too ("selfish" entries). The result is added to the running model.

    Args:
        scale: factor on the result.
        threshold: how large the part of a brick must be beside that of all others for it to use an entry; the lambda
            of the paper, which chooses it for each brick between 0.2 and 0.6.
        agree: how many bricks must use an entry; at most as many as take part.
    """

    scale: Scale = 1.0
    threshold: Annotated[float, Interval(0.0, math.inf), Varying(each=True)] = 0.4
    agree: Annotated[int, Interval(1, math.inf)] = 2

    def refusal(self, weights: Sequence[float]) -> str | None:
        """More bricks than take part cannot agree."""
        if self.agree > len(weights):
            return f"`agree` asks for {self.agree} bricks that use an entry, and {len(weights)} take part"
        return None

    def combine(self, block: Block, out: Tensor) -> None:
        """Sum up, count the masks, keep where enough agree; a product, so that 0 * NaN is NaN."""
        import torch

        out.zero_()
        for delta, weight in zip(block.inputs, block.weights, strict=True):
            out.add_(delta.mul_(weight))
        users = torch.zeros_like(out)
        for delta, settings in zip(block.inputs, block.settings, strict=True):
            rest = (out - delta).abs_().mul_(settings["threshold"])
            users.add_(delta.abs_() >= rest)
        out.mul_(users >= self.agree).mul_(self.scale)
