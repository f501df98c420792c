"""Keeping the middle of a delta: without its largest entries, and without its smallest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, block_height
from brickctl.tensors.fused.formula import formula
from brickctl.tensors.kernels import kernel
from brickctl.tensors.top_k import keep_formula, keep_largest, limits, run_keep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Notes, Value


def keep_middle(node: Node, density: float, gamma: float) -> Node:
    """The tensor, fp64, with all entries set to 0 but k, those that follow the largest ones, which are left out.

    Of n entries k = floor(density n) are kept, at least one, and floor(gamma n) left out, at most n - k; equal
    magnitudes go by index.
    """
    entries = node.spec.elements
    kept = max(1, math.floor(density * entries))
    skipped = min(math.floor(gamma * entries), entries - kept)
    if kept >= entries:
        return node
    largest = keep_largest(node, skipped + kept)
    if skipped == 0:
        return largest
    op = Op.make("drop-largest", 1, height=block_height(node.spec), number=0, mark=False)
    inputs = Input(largest), Input(limits((node,), (skipped,)), Access.ALL)
    return Map(node.spec, op, inputs, whole_rows=True)


@kernel("drop-largest", scratch=32, overwrites=False)
def run_drop(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Take away what lies above a limit, and the first ones of those that tie."""
    import torch

    run_keep(inputs, out, arguments, block)
    torch.sub(inputs[0], out, out=out)


@formula("drop-largest")
def drop_formula(
    inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
) -> Value | None:
    """The value less what of it is among the largest."""
    largest = keep_formula(inputs, whole, arguments, notes)
    return None if largest is None else inputs[0] - largest
