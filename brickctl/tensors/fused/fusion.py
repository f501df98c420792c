"""From nodes to programs: kernels on top of one another that have formulas become one, down to what they read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Map, Op, Stored
from brickctl.core.regions import Access
from brickctl.tensors.fused.formula import Code, Notes, Step, Terms, Value, find_formula
from brickctl.tensors.fused.machine import Program, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node

_LOADS = {
    DType.F64: Code.LOAD_F64,
    DType.F32: Code.LOAD_F32,
    DType.F16: Code.LOAD_F16,
    DType.BF16: Code.LOAD_BF16,
}
_STORES = {
    DType.F64: Code.STORE_F64,
    DType.F32: Code.STORE_F32,
    DType.F16: Code.STORE_F16,
    DType.BF16: Code.STORE_BF16,
}
_MOST_WHOLE = 1 << 20
"""Elements of an input that a formula may see whole."""


@dataclass(frozen=True, slots=True)
class Fused:
    """A program that makes a rectangle of some nodes, and the nodes of which it needs the same rectangle."""

    program: Program
    leaves: tuple[Node, ...]

    @property
    def reads_files_only(self) -> bool:
        """Whether nothing else needs to be made first."""
        return all(isinstance(leaf, Stored) for leaf in self.leaves)


def fuse(
    roots: Sequence[Node],
    apart: Collection[int],
    whole: Callable[[Node], Tensor],
    arguments: Callable[[Op], Mapping[str, Any]],
) -> Fused | None:
    """One program for all of these; None where there is no machine, or nothing for it to do.

    Args:
        roots: what is made.
        apart: nodes below them, by identity, that are leaves whatever they are.
        whole: makes a small node that a formula sees whole.
        arguments: the parameters of an op.
    """
    if not all(root.spec.dtype in _STORES and _has_formula(root) for root in roots):
        return None
    tracing = _Tracing(apart, whole, arguments)
    values = [tracing.computed(root) for root in roots]
    stores = [(value, _STORES[root.spec.dtype]) for value, root in zip(values, roots, strict=True) if value is not None]
    return tracing.fused(stores) if len(stores) == len(roots) else None


class _Missing(Exception):
    """A formula needs something that has to be made first."""


def runs_alone(root: Node) -> bool:
    """Whether the machine makes all of a node from stored bytes, so that nothing else need be imported."""

    def missing(node: Node) -> Tensor:
        raise _Missing(node)

    try:
        fused = fuse((root,), (), missing, Op.arguments)
    except _Missing:
        return False
    return fused is not None and fused.reads_files_only


def fuse_totals(
    nodes: Sequence[Node], terms: Terms, whole: Callable[[Node], Tensor], arguments: Callable[[Op], Mapping[str, Any]]
) -> Fused | None:
    """One program that adds up terms over blocks of these nodes, as `fuse` makes one for what comes out of them."""
    tracing = _Tracing((), whole, arguments)
    values = terms([tracing.value(node) for node in nodes], tracing.notes)
    tracing.most_inputs = max(tracing.most_inputs, len(nodes))
    return tracing.fused([(value, Code.TOTAL) for value in values])


def _has_formula(node: Node) -> bool:
    """Formulas are in fp64; of all kernels only a cast makes something else of that."""
    return (
        isinstance(node, Map)
        and find_formula(node.op) is not None
        and (node.spec.dtype is DType.F64 or node.op.name == "cast")
        and all(
            entry.access is Access.BLOCK or (entry.access is Access.ALL and entry.node.spec.elements <= _MOST_WHOLE)
            for entry in node.inputs
        )
    )


@dataclass(slots=True)
class _Tracing:
    """Goes down from the roots; what has no formula is a leaf."""

    apart: Collection[int]
    whole: Callable[[Node], Tensor]
    arguments: Callable[[Op], Mapping[str, Any]]
    notes: Notes = field(default_factory=Notes)
    leaves: list[Node] = field(default_factory=list)
    known: dict[int, Value] = field(default_factory=dict)
    most_inputs: int = 0

    def computed(self, node: Node) -> Value | None:
        """What a kernel makes, before it is rounded to the type of the node."""
        if not isinstance(node, Map):
            return None
        found = find_formula(node.op)
        if found is None:
            return None
        inputs = [self.value(entry.node) for entry in node.inputs if entry.access is Access.BLOCK]
        self.most_inputs = max(self.most_inputs, len(inputs))
        whole = [self.whole(entry.node) for entry in node.inputs if entry.access is Access.ALL]
        return found(inputs, whole, self.arguments(node.op), self.notes)

    def fused(self, results: Sequence[tuple[Value, Code]]) -> Fused | None:
        """The program, if there is a machine for it and all leaves can be read.

        Nor is there one where it would hold more at a time than kernels one after another, which the budget counts.
        """
        found = machine()
        if found is None or not all(leaf.spec.dtype in _LOADS for leaf in self.leaves):
            return None
        if sum(leaf.spec.dtype.itemsize for leaf in self.leaves) > self.most_inputs * DType.F64.itemsize:
            return None
        stores = [(value.number, code) for value, code in results]
        return Fused(Program(self.notes, stores, found), tuple(self.leaves))

    def value(self, node: Node) -> Value:
        """A node in fp64: noted down, or read as the evaluator makes it."""
        if id(node) not in self.known:
            fits = node.spec.dtype is DType.F64 and id(node) not in self.apart and _has_formula(node)
            self.known[id(node)] = (self.computed(node) if fits else None) or self._read(node)
        return self.known[id(node)]

    def _read(self, node: Node) -> Value:
        at = next((number for number, leaf in enumerate(self.leaves) if _same(leaf, node)), len(self.leaves))
        if at == len(self.leaves):
            self.leaves.append(node)
        return self.notes.take(Step(_LOADS.get(node.spec.dtype, Code.LOAD_F64), at))


def _same(leaf: Node, node: Node) -> bool:
    """Whether two nodes are known to be equal without a look at what is below them."""
    return leaf is node or (isinstance(leaf, Stored) and leaf == node)
