"""Making up for entries that were dropped: by the L1 norm of what there was, or by the fraction that was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Statistic
from brickctl.core.regions import Access, Spec
from brickctl.tensors.fused.formula import formula
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel
from brickctl.tensors.strips import Total, in_strips

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Notes, Value

Rescale = Literal["l1", "density", "none"]
"""What is left is multiplied so that sum |d| is what it was, divided by the density, or left alone."""


def rescaled(node: Node, kept: Node, rescale: Rescale, density: float) -> Node:
    """What was `kept` of a tensor, rescaled; both in fp64, of one shape."""
    if rescale == "none" or density == 1.0:
        return kept
    norms = (Input(l1_norms(node, kept), Access.ALL),) if rescale == "l1" else ()
    return Map(kept.spec, Op.make("rescale", 1, density=density), (Input(kept), *norms))


def l1_norms(*nodes: Node) -> Statistic:
    """The sum of the magnitudes of each tensor: (1, n) in fp64."""
    return Statistic(Spec(DType.F64, (1, len(nodes))), Op.make("l1-norms", 2, count=len(nodes)), nodes)


def ratio(norms: Tensor | Array, number: int = 0) -> float:
    """What brings a norm back to what it was: before / after, a row of (n, 2); 1 where nothing is left.

    Where the tensor holds NaN or infinity it is NaN.
    """
    before, after = norms[number].tolist()
    return 1.0 if after == 0.0 else float(before / after)


@statistic_kernel("l1-norms", version=2, scratch=8, fixed=1 << 20, arrays=True)
def run_norms(scan: Scan, given: Sequence[Array], arguments: Mapping[str, Any]) -> Array:
    """Add up the magnitudes."""
    import numpy as np

    del given
    sums = scan.totals(lambda inputs, _: [value.magnitude() for value in inputs])
    if sums is not None:
        return np.array([sums])
    totals = [Total() for _ in range(arguments["count"])]
    for inputs, _ in scan():
        for parts in in_strips(*inputs):
            for total, part in zip(totals, parts, strict=True):
                total.add(np.abs(part))
    return np.array([[total.value() for total in totals]])


@kernel("rescale", overwrites=False)
def run_rescale(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Multiply a block by the ratio of two norms, or divide it by the density."""
    del block
    out.copy_(inputs[0])
    if len(inputs) > 1:
        out.mul_(ratio(inputs[1]))
    else:
        out.div_(arguments["density"])


@formula("rescale")
def rescale_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """The value times the ratio of two norms, or divided by the density."""
    del notes
    return inputs[0] * ratio(whole[0]) if whole else inputs[0] / float(arguments["density"])
