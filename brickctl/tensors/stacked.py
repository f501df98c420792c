"""Matrices that lie one after another in a tensor (count, rows, columns): one taken out, and all put together."""

from __future__ import annotations

from brickctl.core.nodes import Arrangement, Input, Map, Node, Op, Stored, View
from brickctl.core.regions import Access, Spec
from brickctl.core.rows import RowMap
from brickctl.tensors.views import gather_rows, reshape, stack_rows

_BY_ELEMENT = frozenset({"add", "cast", "multiply", "scale", "subtract", "zeros"})
"""Kernels that do to each element what they do to all others, wherever it lies: the bits of a part are its own."""


def matrix_of(node: Node, at: int) -> Node:
    """The matrix of this number, (rows, columns): what it would be if it were a tensor of its own, or else a view."""
    count, rows, columns = node.spec.shape
    spec = Spec(node.spec.dtype, (rows, columns))
    match node:
        case Stored():
            return Stored(spec, node.blob, node.offset + at * spec.bytes)
        case Map(op=Op(name=name)) if name in _BY_ELEMENT and all(_is_beside(entry, node) for entry in node.inputs):
            return Map(spec, node.op, tuple(Input(matrix_of(entry.node, at)) for entry in node.inputs))
        case View(arrangement=Arrangement.ROWS, sources=sources) if _are_matrices(sources, count, spec):
            return sources[at]
    return gather_rows((reshape(node, (count * rows, columns)),), RowMap(((0, at * rows, rows),)))


def stacked(matrices: tuple[Node, ...], shape: tuple[int, ...]) -> Node:
    """All matrices in one tensor (count, rows, columns), in fp64; each is made when its rows are asked for."""
    return stack_rows(matrices, shape)


def _is_beside(entry: Input, node: Map) -> bool:
    return entry.access is Access.BLOCK and entry.node.spec.shape == node.spec.shape


def _are_matrices(sources: tuple[Node, ...], count: int, spec: Spec) -> bool:
    """Whether a view of rows has each matrix for itself, as it is."""
    return len(sources) == count and all(source.spec == spec for source in sources)
