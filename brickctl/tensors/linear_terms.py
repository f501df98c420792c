"""A node as a weighted sum of others, as far as its formulas say so: what is merged linearly is taken apart again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Map
from brickctl.core.regions import Access
from brickctl.tensors.fused.formula import Code, Notes, Step, find_formula

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.nodes import Node

Shares = dict[int, float]
"""By the number of an input, how often it is in a sum."""

_LINEAR = frozenset({Code.ADD, Code.SUBTRACT, Code.MULTIPLY_NUMBER, Code.DIVIDE_NUMBER})


def terms_of(node: Node) -> Mapping[Node, float]:
    """Nodes and factors whose weighted sum this node is, up to the rounding of fp64; itself, once, where it is no sum.

    Only what is in fp64 is taken apart: a node of another type was rounded.
    """
    shares = _shares_of(node) if isinstance(node, Map) else None
    if shares is None or not isinstance(node, Map):
        return {node: 1.0}
    found: dict[Node, float] = {}
    for number, share in shares.items():
        for inner, factor in terms_of(node.inputs[number].node).items():
            found[inner] = found.get(inner, 0.0) + share * factor
    return found


def terms_before_rounding(node: Node) -> Mapping[Node, float]:
    """The terms of a tensor that is rounded to its type in the end, as every tensor of a model is."""
    is_rounded = isinstance(node, Map) and node.op.name == "cast"
    return terms_of(node.inputs[0].node if isinstance(node, Map) and is_rounded else node)


def _shares_of(node: Map) -> Shares | None:
    """What a kernel takes of each of its inputs; None where its formula is no weighted sum of them."""
    formula = find_formula(node.op)
    in_blocks = all(entry.access is Access.BLOCK for entry in node.inputs)
    if formula is None or node.spec.dtype is not DType.F64 or not node.inputs or not in_blocks:
        return None
    notes = Notes()
    inputs = [notes.take(Step(Code.LOAD_F64, index=number)) for number in range(len(node.inputs))]
    result = formula(inputs, [], node.op.arguments(), notes)
    if result is None:
        return None
    done: list[Shares | None] = []
    for step in notes.steps:
        done.append(_after(step, done))
    return done[result.number]


def _after(step: Step, done: Sequence[Shares | None]) -> Shares | None:
    """What a step makes of the sums before it; None where that is no sum."""
    sums = [one for number in step.reads if (one := done[number]) is not None]
    if step.code is Code.LOAD_F64:
        return {step.index: 1.0}
    if step.code not in _LINEAR or len(sums) < len(step.reads):
        return None
    if step.code is Code.MULTIPLY_NUMBER:
        return {number: share * step.numbers[0] for number, share in sums[0].items()}
    if step.code is Code.DIVIDE_NUMBER:
        return {number: share / step.numbers[0] for number, share in sums[0].items()}
    left, right = sums
    sign = -1.0 if step.code is Code.SUBTRACT else 1.0
    return {**left, **{number: left.get(number, 0.0) + sign * share for number, share in right.items()}}
