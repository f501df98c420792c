"""Small random numbers, each of which belongs to its element and to nothing else: those of `brickctl.tensors.draws`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Map, Node, Op
from brickctl.core.regions import Spec
from brickctl.tensors.draws import CHANCES, draws
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region

_SCRATCH = 12
"""Bytes that draws take for each element of a block, as whole numbers and as fp64."""


def uniform(shape: tuple[int, ...], stream: str, bound: float) -> Node:
    """Numbers between -bound and bound, in fp64: (2 draw + 1 - 2^16) * (bound / 2^16).

    Each of the 2^16 of them is as likely, 0 is none of them, their mean is 0 and their deviation bound / sqrt(3).
    """
    return Map(Spec(DType.F64, shape), Op.make("uniform", 1, stream=stream, bound=bound), (), whole_rows=True)


@kernel("uniform", scratch=_SCRATCH, overwrites=False)
def run_uniform(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Make a block of whole rows."""
    import numpy as np
    import torch

    del inputs
    drawn = draws(arguments["stream"], block.top * block.right, out.numel()).reshape(out.shape)
    out.copy_(torch.from_numpy(drawn.astype(np.float64)))
    out.mul_(2).add_(1 - CHANCES).mul_(arguments["bound"] / CHANCES)
