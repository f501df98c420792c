"""RAM: keep what one brick alone changes, average what several change."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from brickctl.core.nodes import Input, Map, Op
from brickctl.core.parameters import Interval, Varying
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.core.regions import Region
    from brickctl.merging.method import Block, Part


Epsilon = Annotated[float, Interval(0.0, math.inf), Varying(each=True)]
"""A magnitude up to which an entry of a delta counts as unchanged."""


@merge_method(
    "ram",
    space="delta",
    laws=["permutation"],
    reference="https://arxiv.org/abs/2601.13572",
    weighted=False,
    scratch=16,
)
class Ram(MergeMethod):
    """Mean over the bricks that are active at an entry.

    out = sum_i a_i d_i / max(1, sum_i a_i), with d_i = tuned_i - base (rows, columns) and a_i = 0 where |d_i| is at
    most `epsilon`, else 1: an entry that one brick alone changes is taken as it is, one that several change is their
    mean, and what nobody changes is 0. The result is added to the running model.

    Args:
        epsilon: entries of a delta up to this magnitude count as unchanged.
    """

    epsilon: Epsilon = 1e-5

    def prepare(self, part: Part, tensor: str) -> Node:
        """The delta without what counts as unchanged."""
        del tensor
        return active_entries(part.node, part.settings["epsilon"])

    def combine(self, block: Block, out: Tensor) -> None:
        """Sum up, count, divide."""
        counts = active_counts(block.inputs)
        out.copy_(block.inputs[0])
        for delta in block.inputs[1:]:
            out.add_(delta)
        out.div_(counts.clamp_(min=1.0))


def active_entries(delta: Node, epsilon: float) -> Node:
    """The delta with 0 where its magnitude is at most epsilon."""
    return Map(delta.spec, Op.make("active-entries", 1, epsilon=epsilon), (Input(delta),))


def active_counts(deltas: Sequence[Tensor]) -> Tensor:
    """How many deltas are not 0, at every entry; NaN is active, so that it reaches the result."""
    import torch

    counts = torch.zeros_like(deltas[0])
    for delta in deltas:
        counts.add_(delta != 0)
    return counts


@kernel("active-entries", overwrites=False)
def run_active_entries(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Write what lies above epsilon in magnitude, and NaN."""
    import torch

    del block
    torch.hardshrink(inputs[0], arguments["epsilon"], out=out)
