"""Passthrough: one model as it is, or a multiple of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.parameters import Scale
from brickctl.merging.method import MergeMethod, merge_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brickctl.merging.method import Block
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value


@merge_method(
    "passthrough",
    space="weight",
    laws=["idempotence"],
    reference="https://arxiv.org/abs/2403.13257",
    bricks=(1, 1),
    weighted=False,
)
class Passthrough(MergeMethod):
    """The tensors of one model.

    out = scale * x, with x the tensor of the model. Where `scale` is 1 it is copied, bit by bit; where it is 0 for some
    output projections, their layer adds nothing.

    Args:
        scale: factor on each tensor.
    """

    scale: Scale = 1.0

    def passes_through(self, weights: Sequence[float]) -> bool:
        """Nothing to compute."""
        del weights
        return self.scale == 1.0

    def combine(self, block: Block, out: Tensor) -> None:
        """Multiply."""
        out.copy_(block.inputs[0]).mul_(self.scale)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element."""
        del weights, statistics
        return inputs[0] * self.scale
