"""Fisher: the mean of models, in which each counts, entry by entry, by how much its predictions depend on the entry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Op
from brickctl.core.parameters import Interval
from brickctl.core.regions import Access, Spec
from brickctl.merging.linear import (
    not_above_zero,
    weighted_mean,
    weighted_mean_formula,
    weighted_sum,
    weighted_sum_formula,
)
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.merging.rescaling import l1_norms
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.core.regions import Region
    from brickctl.merging.method import Block, Part
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Value


@merge_method(
    "fisher",
    space="weight",
    laws=["permutation", "idempotence"],
    reference="https://arxiv.org/abs/2111.09832",
    statistic="fisher",
    scratch=16,
)
class Fisher(MergeMethod):
    """Weighted mean of whole models by their diagonal Fisher information, entry by entry.

    out = sum_i w_i f_i x_i / sum_i w_i f_i, all of the shape of the tensor: x_i is the tensor of model i, f_i =
    max(F_i, floor * m) with F_i its Fisher information, which the `statistics` of the brick hold, and m the mean of all
    F_i over all entries of the tensor. So an entry that matters to no model gets the weighted mean, and so does a
    tensor of which the statistics say nothing. The published code has a floor of 1e-6 that is relative to nothing: F
    grows with the square of gradients, so this would be much for one model and nothing for another. `base` may take
    part too, with statistics of its own.

    Args:
        floor: how little an entry may count, in means of the Fisher information of its tensor; from 1e-100 to 1e100,
            as products with what is beyond that are no numbers of fp64.
    """

    floor: Annotated[float, Interval(1e-100, 1e100)] = 1e-6

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Weights of both signs might cancel in some entry."""
        return not_above_zero(weights)

    def passes_through(self, weights: Sequence[float]) -> bool:
        """A mean of equal models is that model."""
        del weights
        return True

    def node(self, parts: Sequence[Part], tensor: str) -> Node:
        """The mean by what the statistics say of the tensor, or without them."""
        del tensor
        known = [cast(part.statistic, DType.F64) for part in parts if part.statistic is not None]
        beside = [*map(Input, known), Input(_least(known, self.floor), Access.ALL)] if known else []
        return self.block_by_block([part.node for part in parts], parts, beside)

    def combine(self, block: Block, out: Tensor) -> None:
        """Turn what is known of each entry into its weight, sum up, divide by the sum of the weights."""
        import torch

        if not block.statistics:
            weighted_mean(block.inputs, block.weights, out)
            return
        *known, least = block.statistics
        for one, weight in zip(known, block.weights, strict=True):
            one.sub_(least)
            one.add_(one.abs()).mul_(0.5).add_(least).mul_(weight)
        weighted_sum(block.inputs, known, out)
        total = known[0].clone()
        for one in known[1:]:
            total.add_(one)
        torch.div(out, total, out=out)

    def formula(self, inputs: Sequence[Value], weights: Sequence[float], statistics: Sequence[Array]) -> Value | None:
        """The same for one element; the larger of two numbers is half of their sum and their distance."""
        if not statistics:
            return weighted_mean_formula(inputs, weights)
        least, count = float(statistics[0][0, 0]), len(weights)
        above = [value + -least for value in inputs[count:]]
        shares = [
            ((value + value.magnitude()) * 0.5 + least) * weight for value, weight in zip(above, weights, strict=True)
        ]
        total = shares[0]
        for share in shares[1:]:
            total += share
        return weighted_sum_formula(inputs[:count], shares) / total


def _least(known: Sequence[Node], floor: float) -> Node:
    """What an entry counts at least: (1, 1), in fp64."""
    elements = len(known) * max(1, known[0].spec.elements)
    op = Op.make("merge.fisher.least", 1, floor=floor / elements)
    return Map(Spec(DType.F64, (1, 1)), op, (Input(l1_norms(*known), Access.ALL),))


@kernel("merge.fisher.least", overwrites=False, arrays=True)
def run_least(inputs: Sequence[Array], out: Array, arguments: Mapping[str, Any], block: Region) -> None:
    """A share of the sum of all Fisher information; 1 where there is none, so that all entries count alike."""
    del block
    out[...] = arguments["floor"] * math.fsum(inputs[0][0].tolist()) or 1.0
