"""Arcee fusion: add the entries of one delta that matter most, by size and by what they do to a softmax of the row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Op, Statistic
from brickctl.core.regions import Access, Spec
from brickctl.errors import BrickctlError
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.tensors.arithmetic import scale_rows
from brickctl.tensors.elementary import WORKING_BYTES, exponential_, logarithm_
from brickctl.tensors.exact import sum_along
from brickctl.tensors.kernels import Scan, statistic_kernel
from brickctl.tensors.quartiles import quartiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Block, Part


_FLOOR = 1e-8
_REACH = 1.5


@merge_method(
    "arcee_fusion",
    space="delta",
    laws=[],
    reference="https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md",
    bricks=(1, 1),
    weighted=False,
    scratch=32,
)
class ArceeFusion(MergeMethod):
    """One delta where its importance is an outlier.

    out = d * [I >= Q2 + 1.5 (Q3 - Q1)], with d = tuned - base (rows, columns) and the importance I = |d| * KL(p, q),
    rounded to fp32; KL(p, q) = sum over the columns of a row of p ln(p / q), at least 0, with p = softmax(row of tuned)
    + 1e-8 and q = softmax(row of base) + 1e-8. Q1, Q2, Q3 are the quartiles of I over the whole tensor, exact at any
    size, where mergekit draws a random sample of a million entries from a larger tensor. The result is added to the
    running model. A vector is one row; where Q1 to Q3 are 0, as in a tensor that hardly changed, every entry is kept.

    Args:
        quartiles: with "lower" a quartile that falls between two entries is the smaller one, as in mergekit; with
            "linear" it lies between them in proportion.
    """

    quartiles: Literal["lower", "linear"] = "lower"

    def node(self, parts: Sequence[Part], tensor: str) -> Node:
        """The delta, how much each row diverges, and the quartiles of the importance."""
        (part,) = parts
        delta = part.node
        if part.base is None:
            raise BrickctlError(f"`arcee_fusion` of `{tensor}` needs the base")
        divergence = _divergence(delta, part.base)
        found = quartiles(scale_rows(delta, divergence), interpolate=self.quartiles == "linear")
        return self.block_by_block([delta], parts, [Input(divergence, Access.ACROSS), Input(found, Access.ALL)])

    def combine(self, block: Block, out: Tensor) -> None:
        """Keep what is not below the fence; NaN is below nothing, so that it reaches the result."""
        import torch

        (delta,) = block.inputs
        divergence, found = block.statistics
        first, median, third = found[0].tolist()
        importance = (delta * divergence.T).abs_().to(torch.float32).to(torch.float64)
        kept = (importance < median + _REACH * (third - first)).logical_not_()
        torch.mul(delta, kept, out=out)


def _divergence(delta: Node, base: Node) -> Statistic:
    """How much each row diverges: (1, rows)."""
    rows = delta.spec.rows
    op = Op.make("row-divergence", 1, rows=rows)
    return Statistic(Spec(DType.F64, (1, rows)), op, (delta, base), whole_rows=True)


@statistic_kernel("row-divergence", scratch=24, fixed=WORKING_BYTES)
def run_divergence(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """Go row by row; sums are binary trees."""
    import torch

    del given
    found = torch.zeros(1, arguments["rows"], dtype=torch.float64)
    for (delta, base), region in scan():
        tuned = _softmax_(delta.add_(base)).add_(_FLOOR)
        before = _softmax_(base).add_(_FLOOR)
        ratios = logarithm_(torch.div(tuned, before, out=before))
        found[:, region.top : region.bottom] = sum_along(ratios.mul_(tuned), dim=1).clamp_(min=0.0).T
    return found


def _softmax_(block: Tensor) -> Tensor:
    """The softmax of each row, in place."""
    exponential_(block.sub_(block.amax(1, keepdim=True)))
    return block.div_(sum_along(block, dim=1))
