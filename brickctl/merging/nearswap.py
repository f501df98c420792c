"""NearSwap: take over a delta where it is small, and no more than a threshold elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from brickctl.core.parameters import Interval, Varying
from brickctl.merging.method import MergeMethod, merge_method

if TYPE_CHECKING:
    from torch import Tensor

    from brickctl.merging.method import Block


@merge_method(
    "nearswap",
    space="delta",
    laws=[],
    reference="https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    bricks=(1, 1),
    weighted=False,
)
class NearSwap(MergeMethod):
    """A delta, clipped.

    out = clip(t / |d|, 0, 1) d = clip(d, -t, t), with d = tuned - base; the result is added to the running model. What
    differs by up to `t` becomes as in the brick, all else moves by `t` towards it; where d is 0, nothing moves.

    Args:
        t: how far a weight may move.
    """

    t: Annotated[float, Interval(0.0, math.inf), Varying()] = 0.0001

    def combine(self, block: Block, out: Tensor) -> None:
        """Clip; infinity less infinity is NaN, so that clipping hides none."""
        (delta,) = block.inputs
        out.copy_(delta).clamp_(-self.t, self.t)
        out.add_(delta.sub_(delta))
