"""For which blocks of a tensor each of its bundles is needed: a tensor of many matrices does not need all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.graph import children, outputs
from brickctl.core.nodes import Arrangement, Bundle, Map, Node, Output, View, blocks_of
from brickctl.core.regions import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Span = tuple[int, int]
"""The first block that needs it, and the last."""


def spans(root: Node) -> dict[Bundle, Span]:
    """The bundles of a tensor, those that others are made of included."""
    size = elements_of_block(root)
    found: dict[Bundle, Span] = {}
    for bundle, begin, end in _needed(root):
        block, last = begin // size, max(begin, end - 1) // size
        known = found.get(bundle, (block, last))
        found[bundle] = min(block, known[0]), max(last, known[1])
    return found


def in_order(root: Node) -> list[tuple[int, Output]]:
    """One output of each bundle that the blocks of a tensor ask for, and the first block that does, in that order."""
    needed = spans(root)
    return sorted(((needed[one.bundle][0], one) for one in outputs(root)), key=lambda entry: entry[0])


def most_at_once(needed: Mapping[Bundle, Span], blocks: int, bytes_of: Callable[[Bundle], int]) -> int:
    """The most bytes that bundles take which so many blocks in a row need together."""
    changes: list[tuple[int, int]] = []
    for bundle, (first, last) in needed.items():
        size = bytes_of(bundle)
        changes += (first - blocks + 1, size), (last + 1, -size)
    most = held = 0
    for _, change in sorted(changes):
        held += change
        most = max(most, held)
    return most


def elements_of_block(root: Node) -> int:
    """By how many elements blocks are numbered here: those of one, or of a row that is cut into several."""
    first = next(blocks_of(root), None)
    return 1 if first is None else max(first.elements, root.spec.columns)


def _needed(root: Node) -> Iterator[tuple[Bundle, int, int]]:
    """Each bundle, and the first and the end of the elements of the tensor that it is needed for."""
    waiting, seen = [(root, 0, root.spec.elements, True)], set[tuple[int, int, int, bool]]()
    while waiting:
        node, begin, end, in_place = waiting.pop()
        if (id(node), begin, end, in_place) in seen:
            continue
        seen.add((id(node), begin, end, in_place))
        if isinstance(node, Output):
            yield node.bundle, begin, end
        for child, place in zip(children(node), _places(node, begin, end, in_place=in_place), strict=True):
            waiting.append((child, *place))


def _places(node: Node, begin: int, end: int, *, in_place: bool) -> Iterator[tuple[int, int, bool]]:
    """For which elements each child is needed, and whether they are its own, one by one."""
    if isinstance(node, View) and node.arrangement is Arrangement.ROWS and in_place:
        for source in node.sources:
            yield begin, begin + source.spec.elements, True
            begin += source.spec.elements
    elif isinstance(node, View):
        yield from ((begin, end, in_place and node.arrangement is Arrangement.RESHAPE) for _ in node.sources)
    elif isinstance(node, Map):
        same = (entry.access is Access.BLOCK and entry.node.spec.shape == node.spec.shape for entry in node.inputs)
        yield from ((begin, end, in_place and one) for one in same)
    else:
        yield from ((begin, end, False) for _ in children(node))
