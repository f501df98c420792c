"""Keeping entries of a delta by chance: with one probability for all, or one that grows with the rank in a row.

The draws are those of `brickctl.tensors.draws`: an entry with probability p is kept where its draw is below
floor(65536 p + 0.5), so probabilities count in steps of 2^-16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Statistic
from brickctl.core.regions import Access, Spec
from brickctl.merging.rescaling import Rescale, ratio
from brickctl.tensors.draws import CHANCES, draws, limit_of
from brickctl.tensors.fused.formula import formula
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel
from brickctl.tensors.strips import Total, in_strips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from brickctl.core.regions import Region
    from brickctl.merging.method import Part
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Notes, Value

_KEEP_SCRATCH = 48
"""Bytes that a mask takes for each element of a block."""


def thinned(parts: Sequence[Part], stream_of: Callable[[Part], str], rescale: Rescale) -> list[Node]:
    """The tensors, fp64, with each entry kept with probability p and set to 0 else, then rescaled.

    Entry number r of the m in its row, from 0 in the order of magnitudes, equal ones by index, has
    p = density - e + 2 e r / (m - 1), e = min(epsilon, density, 1 - density), so that p stays within [0, 1] and its
    mean is the density; the only entry of a row has p = density. NaN and infinity become NaN and are never dropped.

    Args:
        parts: what is thinned; their settings hold the density and, where it is not 0, the epsilon: how far the
            probability lies from the density at both ends of a row.
        stream_of: gives the key of the stream of draws.
        rescale: how to make up for what was dropped.
    """
    nodes = [part.node for part in parts]
    cut = [at for at, part in enumerate(parts) if part.settings["density"] < 1.0]
    each = [_arguments(parts[at], stream_of(parts[at])) for at in cut]
    norms = _norms([nodes[at] for at in cut], each) if cut and rescale == "l1" else None
    for number, (at, arguments) in enumerate(zip(cut, each, strict=True)):
        inputs = (Input(nodes[at]), *(() if norms is None else (Input(norms, Access.ALL),)))
        op = Op.make("thin", 1, divided=rescale == "density", number=number, **arguments)
        nodes[at] = Map(nodes[at].spec, op, inputs, whole_rows=True)
    return nodes


def _arguments(part: Part, stream: str) -> Mapping[str, Any]:
    density = part.settings["density"]
    spread = min(part.settings.get("epsilon", 0.0), density, 1.0 - density)
    return {"stream": stream, "density": density, "epsilon": spread if part.node.spec.columns > 1 else 0.0}


def _norms(nodes: Sequence[Node], each: Sequence[Mapping[str, Any]]) -> Statistic:
    """The L1 norm of each tensor and of what is kept of it: (n, 2) in fp64."""
    op = Op.make("thinned-norms", 2, each=list(each))
    return Statistic(Spec(DType.F64, (len(nodes), 2)), op, tuple(nodes), whole_rows=True)


@statistic_kernel("thinned-norms", version=2, scratch=_KEEP_SCRATCH, fixed=1 << 20, arrays=True)
def run_norms(scan: Scan, given: Sequence[Array], arguments: Mapping[str, Any]) -> Array:
    """Add up all magnitudes, and those that are kept."""
    import numpy as np

    del given
    sums = scan.totals(lambda inputs, notes: _terms(inputs, arguments["each"], notes)) if _is_even(arguments) else None
    if sums is not None:
        return np.array(sums).reshape(-1, 2)
    totals = [(Total(), Total()) for _ in arguments["each"]]
    for blocks, region in scan():
        for block, (before, after), own in zip(blocks, totals, arguments["each"], strict=True):
            for part, kept in in_strips(np.abs(block), _kept(block, own, region)):
                before.add(part)
                after.add(part * kept)
    return np.array([[before.value(), after.value()] for before, after in totals])


def _is_even(arguments: Mapping[str, Any]) -> bool:
    """Whether no mask goes by the rank in a row."""
    return not any(own["epsilon"] for own in arguments["each"])


def _terms(inputs: Sequence[Value], each: Sequence[Mapping[str, Any]], notes: Notes) -> list[Value]:
    """Of each tensor the magnitude, and that of what is kept."""
    del notes
    found = []
    for value, own in zip(inputs, each, strict=True):
        found += [value.magnitude(), value.drawn(own["stream"], limit_of(own["density"])).magnitude()]
    return found


@kernel("thin", scratch=_KEEP_SCRATCH, overwrites=False)
def run_thin(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply a block by its mask, which keeps NaN and makes it of infinity, and rescale it."""
    import numpy as np
    import torch

    values = inputs[0]
    kept = _kept(values.numpy(), arguments, block)
    out.copy_(torch.from_numpy(kept.view(np.uint8)))  # in a quarter of the time of truth values
    out.mul_(values)
    if len(inputs) > 1:
        out.mul_(ratio(inputs[1], arguments["number"]))
    elif arguments["divided"]:
        out.div_(arguments["density"])


@formula("thin")
def thin_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """The value times its mask, rescaled; not where the mask goes by the rank in a row."""
    del notes
    if arguments["epsilon"]:
        return None
    kept = inputs[0].drawn(arguments["stream"], limit_of(arguments["density"]))
    if whole:
        return kept * ratio(whole[0], arguments["number"])
    return kept / float(arguments["density"]) if arguments["divided"] else kept


def _kept(values: Array, arguments: Mapping[str, Any], block: Region) -> NDArray[np.bool_]:
    """Whether each entry of a block of whole rows is kept."""
    drawn = draws(arguments["stream"], block.top * values.shape[1], values.size).reshape(values.shape)
    if arguments["epsilon"]:
        limits: Any = _limits_by_rank(values, arguments["density"], arguments["epsilon"])
    else:
        limits = limit_of(arguments["density"])
    return drawn < limits  # type: ignore[no-any-return]  # draws are of any type


def _limits_by_rank(values: Array, density: float, epsilon: float) -> NDArray[np.int32]:
    """The number that the draw of each entry must be below; torch sorts in half of the time."""
    import torch

    order = torch.from_numpy(values).abs().argsort(dim=1, stable=True)
    limits = _limits(values.shape[1], density, epsilon).expand(values.shape)
    return torch.empty(values.shape, dtype=torch.int32).scatter_(1, order, limits).numpy()


def _limits(columns: int, density: float, epsilon: float) -> Tensor:
    """For each rank in a row, from the smallest, the number that a draw must be below: (columns,)."""
    import torch

    ranks = torch.arange(columns, dtype=torch.float64).div_(columns - 1)
    chances = ranks.mul_(2.0 * epsilon).add_(density - epsilon)
    return chances.mul_(CHANCES).add_(0.5).floor_().to(torch.int32)
