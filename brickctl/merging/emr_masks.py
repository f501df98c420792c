"""EMR's masks and factors: what makes the model of one task of the unified delta of all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Statistic
from brickctl.core.regions import Access, Spec
from brickctl.merging.emr import UNIFY_SCRATCH, unify
from brickctl.tensors.arithmetic import add
from brickctl.tensors.bits import packed
from brickctl.tensors.kernels import Scan, kernel, statistic_kernel
from brickctl.tensors.strips import total_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region
    from brickctl.merging.method import Part


def mask(parts: Sequence[Part], number: int, scale: float) -> Node:
    """Where the delta of one part has the sign of the unified delta of all, as packed bits."""
    op = Op.make("emr.mask", 1, weights=[part.weight for part in parts], scale=scale, number=number)
    deltas = tuple(Input(part.node) for part in parts)
    return packed(Map(Spec(DType.U8, parts[0].node.spec.shape), op, deltas))


def magnitudes(parts: Sequence[Part], tasks: Sequence[int], count: int, scale: float) -> Node:
    """For each of `count` tasks sum |d_i| and sum |m_i u| in this tensor, (count, 2); parts are of these tasks."""
    op = Op.make(
        "emr.magnitudes",
        1,
        weights=[part.weight for part in parts],
        scale=scale,
        tasks=list(tasks),
        count=count,
    )
    return Statistic(Spec(DType.F64, (count, 2)), op, tuple(part.node for part in parts))


def total(sums: Sequence[Node]) -> Node:
    """The sums over all tensors, added as a binary tree."""
    if len(sums) == 1:
        return sums[0]
    half = len(sums) // 2
    return add(total(sums[:half]), total(sums[half:]))


def factor(sums: Node, task: int) -> Node:
    """l_i = sum |d_i| / sum |m_i u|; 1 where no entry of the mask is set, as then nothing is multiplied by it."""
    return Map(Spec(DType.F64, (1,)), Op.make("emr.factor", 1, task=task), (Input(sums, Access.ALL),))


def _agrees(weighed: Tensor, weight: float, unified: Tensor) -> Tensor:
    """Where a delta, given with its weight on it, has the sign of the unified one, which is neither 0 nor NaN."""
    return weighed.sign().mul_(unified.sign()).mul_(math.copysign(1.0, weight)).gt(0.0)


@kernel("emr.mask", scratch=UNIFY_SCRATCH + 25)
def run_mask(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """1 where the delta of the given number agrees with the unified one, else 0."""
    import torch

    del block
    weights, number = arguments["weights"], arguments["number"]
    unified = torch.empty_like(inputs[0])
    unify(inputs, weights, arguments["scale"], unified)
    out.copy_(_agrees(inputs[number], weights[number], unified))


@statistic_kernel("emr.magnitudes", scratch=UNIFY_SCRATCH + 33)
def run_magnitudes(scan: Scan, given: Sequence[Tensor], arguments: Mapping[str, Any]) -> Tensor:
    """The sums of each block as binary trees, and those of the blocks in order."""
    import torch

    del given
    weights, tasks = arguments["weights"], arguments["tasks"]
    sums = torch.zeros(arguments["count"], 2, dtype=torch.float64)
    for inputs, _ in scan():
        unified = torch.empty_like(inputs[0])
        for task, delta in zip(tasks, inputs, strict=True):
            sums[task, 0] += total_of(delta.abs())
        unify(inputs, weights, arguments["scale"], unified)
        for task, delta, weight in zip(tasks, inputs, weights, strict=True):
            sums[task, 1] += total_of(_agrees(delta, weight, unified).mul(unified.abs()))
    return sums


@kernel("emr.factor", overwrites=False)
def run_factor(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """The quotient of the two sums of a task."""
    del block
    own, unified = inputs[0][arguments["task"]].tolist()
    out.fill_(1.0 if unified == 0.0 else own / unified)
