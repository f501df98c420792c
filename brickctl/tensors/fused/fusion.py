"""From nodes to programs: kernels on top of one another that have formulas become one, down to what they read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Map, Op, Stored
from brickctl.core.regions import Access
from brickctl.tensors.fused.formula import Code, Notes, Step, Terms, Value, find_formula, live, widens
from brickctl.tensors.fused.machine import Program, machine
from brickctl.tensors.fused.shortening import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from ctypes import CDLL

    from brickctl.core.nodes import Input, Node
    from brickctl.tensors.arrays import Array

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


@dataclass(frozen=True)
class Fused:
    """What makes a rectangle of some nodes, and the nodes of which it needs the same rectangle.

    Attributes:
        notes: the steps.
        results: which of them are stored, and how.
        machine: what runs them.
        leaves: what is read, in the order of the numbers that the steps have for it.
    """

    notes: Notes
    results: Sequence[tuple[int, Code]]
    machine: CDLL
    leaves: tuple[Node, ...]

    @cached_property
    def program(self) -> Program:
        """The program, which belongs to the thread that asks for it first."""
        return Program(self.notes, self.results, self.machine)

    @property
    def reads_files_only(self) -> bool:
        """Whether nothing else needs to be made first."""
        return all(isinstance(leaf, Stored) for leaf in self.leaves)


def fuse(
    roots: Sequence[Node],
    apart: Collection[int],
    whole: Callable[[Node], Array],
    arguments: Callable[[Op], Mapping[str, Any]],
    ends_in: Code | None = None,
) -> Fused | None:
    """One program for all of these; None where there is no machine, or nothing for it to do.

    Args:
        roots: what is made.
        apart: nodes below them, by identity, that are leaves whatever they are.
        whole: makes a small node that a formula sees whole.
        arguments: the parameters of an op.
        ends_in: what is done to results instead of storing them.
    """
    if not all(root.spec.dtype in _STORES and _has_formula(root) for root in roots):
        return None
    tracing = _Tracing(apart, whole, arguments)
    values = [tracing.computed(root) for root in roots]
    ends = (ends_in or _STORES[root.spec.dtype] for root in roots)
    stores = [(value, end) for value, end in zip(values, ends, strict=True) if value is not None]
    if ends_in is not None:  # nothing is held of the results themselves
        tracing.held |= dict.fromkeys((value.number for value, _ in stores), len(roots))
    return tracing.fused(stores) if len(stores) == len(roots) else None


def fuse_totals(
    nodes: Sequence[Node], terms: Terms, whole: Callable[[Node], Array], arguments: Callable[[Op], Mapping[str, Any]]
) -> Fused | None:
    """One program that adds up terms over blocks of these nodes, as `fuse` makes one for what comes out of them."""
    tracing = _Tracing((), whole, arguments)
    values = terms([tracing.value(node) for node in nodes], tracing.notes)
    tracing.held |= dict.fromkeys((value.number for value in values), len(nodes))
    return tracing.fused([(value, Code.TOTAL) for value in values])


def _has_formula(node: Node) -> bool:
    """Formulas are in fp64; of all kernels only a cast makes something else of that."""
    return (
        isinstance(node, Map)
        and find_formula(node.op) is not None
        and (node.spec.dtype is DType.F64 or node.op.name == "cast")
        and all(_is_seen(entry, wide=not widens(node.op)) for entry in node.inputs)
    )


def _is_seen(entry: Input, *, wide: bool) -> bool:
    """Whether a formula can have this input, which has to be fp64 if it is `wide`."""
    if entry.access is Access.BLOCK:
        return not wide or entry.node.spec.dtype is DType.F64
    return entry.access is Access.ALL and entry.node.spec.elements <= _MOST_WHOLE


@dataclass(slots=True)
class _Tracing:
    """Goes down from the roots; what has no formula is a leaf.

    `held` is, for the result of each kernel, how many inputs that kernel has.
    """

    apart: Collection[int]
    whole: Callable[[Node], Array]
    arguments: Callable[[Op], Mapping[str, Any]]
    notes: Notes = field(default_factory=Notes)
    leaves: list[Node] = field(default_factory=list)
    known: dict[int, Value] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)

    def computed(self, node: Node) -> Value | None:
        """What a kernel makes, before it is rounded to the type of the node."""
        if not isinstance(node, Map):
            return None
        found = find_formula(node.op)
        if found is None:
            return None
        inputs = [self.value(entry.node) for entry in node.inputs if entry.access is Access.BLOCK]
        whole = [self.whole(entry.node) for entry in node.inputs if entry.access is Access.ALL]
        value = found(inputs, whole, self.arguments(node.op), self.notes)
        if value is not None:
            self.held[value.number] = max(len(inputs), self.held.get(value.number, 0))
        return value

    def fused(self, results: Sequence[tuple[Value, Code]]) -> Fused | None:
        """The program, if there is a machine for it, all leaves can be read, and it is no more to hold.

        The budget counts kernels one after another. A program holds all leaves at once: fewer bytes than the inputs of
        one of the kernels are in fp64, and at most one leaf that has to be made, which is made first.
        """
        found = machine()
        steps, _ = live([value.number for value, _ in results], self.notes)
        notes, stores, used = shortened(self.notes, [(value.number, code) for value, code in results])
        leaves = tuple(self.leaves[number] for number in used)
        made = [leaf for leaf in leaves if not isinstance(leaf, Stored)]
        if found is None or len(made) > 1 or not all(leaf.spec.dtype in _LOADS for leaf in leaves):
            return None
        most = max((count for number, count in self.held.items() if number in steps), default=0)
        if sum(leaf.spec.dtype.itemsize for leaf in leaves) > most * DType.F64.itemsize:
            return None
        return Fused(notes, stores, found, leaves)

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
        return self.notes.take(Step(_LOADS.get(node.spec.dtype, Code.LOAD_F64), index=at))


def _same(leaf: Node, node: Node) -> bool:
    """Whether two nodes are known to be equal without a look at what is below them."""
    return leaf is node or (isinstance(leaf, Stored) and leaf == node)
