"""Keeping entries of a delta by chance: with one probability for all, or one that grows with the rank in a row.

The draws are those of `brickctl.tensors.draws`: an entry with probability p is kept where its draw is below
floor(65536 p + 0.5), so probabilities count in steps of 2^-16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Access, Input, Map, Node, Op, Spec, Statistic
from brickctl.merging.rescaling import Rescale, ratio
from brickctl.tensors.draws import CHANCES, draws, limit_of
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel
from brickctl.tensors.strips import Total, in_strips

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Region

_KEEP_SCRATCH = 48
"""Bytes that a mask takes for each element of a block."""


def thinned(node: Node, stream: str, density: float, rescale: Rescale, *, epsilon: float = 0.0) -> Node:
    """The tensor, fp64, with each entry kept with probability p and set to 0 else, then rescaled.

    Entry number r of the m in its row, from 0 in the order of magnitudes, equal ones by index, has
    p = density - e + 2 e r / (m - 1), e = min(epsilon, density, 1 - density), so that p stays within [0, 1] and its
    mean is the density; the only entry of a row has p = density. NaN and infinity become NaN and are never dropped.

    Args:
        node: what is thinned.
        stream: key of the stream of draws.
        density: probability with which an entry is kept, on average.
        rescale: how to make up for what was dropped.
        epsilon: how far the probability lies from the density at both ends of a row.
    """
    if density == 1.0:
        return node
    spread = min(epsilon, density, 1.0 - density)
    arguments = {"stream": stream, "density": density, "epsilon": spread if node.spec.columns > 1 else 0.0}
    norms = (Input(_norms(node, arguments), Access.ALL),) if rescale == "l1" else ()
    op = Op.make("thin", 1, divided=rescale == "density", **arguments)
    return Map(node.spec, op, (Input(node), *norms), whole_rows=True)


def _norms(node: Node, arguments: Mapping[str, Any]) -> Statistic:
    """The L1 norm of a tensor and of what is kept of it: (1, 2) in fp64."""
    op = Op.make("thinned-norms", 1, **arguments)
    return Statistic(Spec(DType.F64, (1, 2)), op, (node,), whole_rows=True)


@statistic_kernel("thinned-norms", scratch=_KEEP_SCRATCH, fixed=1 << 21)
def run_norms(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Add up all magnitudes, and those that are kept."""
    import torch

    del given
    before, after = Total(), Total()
    for (block,), region in scan():
        for part, kept in in_strips(block.abs_(), _kept(block, arguments, region)):
            before.add(part)
            after.add(part.mul_(kept))
    return torch.tensor([[before.value(), after.value()]], dtype=torch.float64)


@kernel("thin", scratch=_KEEP_SCRATCH, overwrites=False)
def run_thin(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply a block by its mask, which keeps NaN and makes it of infinity, and rescale it."""
    values = inputs[0]
    _kept(values, arguments, block, out)
    out.mul_(values)
    if len(inputs) > 1:
        out.mul_(ratio(inputs[1]))
    elif arguments["divided"]:
        out.div_(arguments["density"])


def _kept(values: Tensor, arguments: Mapping[str, Any], block: Region, out: Tensor | None = None) -> Tensor:
    """1.0 where an entry of a block of whole rows is kept, else 0.0.

    The truth values are NumPy's, and go to torch as bytes: it turns those into fp64 in a quarter of the time.
    """
    import numpy as np
    import torch

    drawn = draws(arguments["stream"], block.top * values.shape[1], values.numel())
    if arguments["epsilon"]:
        kept = drawn < _limits_by_rank(values, arguments["density"], arguments["epsilon"])
    else:
        kept = drawn < limit_of(arguments["density"])
    mask = torch.empty_like(values) if out is None else out
    return mask.copy_(torch.from_numpy(kept.view(np.uint8)).view(values.shape))


def _limits_by_rank(values: Tensor, density: float, epsilon: float) -> Any:
    """The number that the draw of each entry must be below, one row after the other."""
    import torch

    order = values.abs().argsort(dim=1, stable=True)
    limits = _limits(values.shape[1], density, epsilon).expand(values.shape)
    return torch.empty(values.shape, dtype=torch.int32).scatter_(1, order, limits).numpy().reshape(-1)


def _limits(columns: int, density: float, epsilon: float) -> Tensor:
    """For each rank in a row, from the smallest, the number that a draw must be below: (columns,)."""
    import torch

    ranks = torch.arange(columns, dtype=torch.float64).div_(columns - 1)
    chances = ranks.mul_(2.0 * epsilon).add_(density - epsilon)
    return chances.mul_(CHANCES).add_(0.5).floor_().to(torch.int32)
