"""What several parts of one block have in common, such as the base in three deltas: read and widened once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from brickctl.core.graph import children
from brickctl.core.nodes import Map, Node, Output, Statistic, Stored, View
from brickctl.core.regions import Access

if TYPE_CHECKING:
    from collections.abc import Hashable


def shared_nodes(roots: tuple[Node, ...]) -> tuple[tuple[Node, int], ...]:
    """Every node that blocks of the roots need more than once in the same rectangle, with a number.

    Equal nodes have one number. Only the outermost are named: what lies below a shared node is made once anyway.
    """
    search = _Search()
    for root in roots:
        search.count(root)
    for root in roots:
        search.note(root)
    return tuple(search.found.values())


class _Search:
    """Nodes by number; two nodes have the same one if they say the same, which costs less to see than by their keys."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[Node, int]] = {}
        self._numbers: dict[Hashable, int] = {}
        self._known: dict[int, int] = {}
        self._uses: Counter[int] = Counter()

    def count(self, node: Node) -> None:
        """Count the uses of a node, and of what it needs in the same rectangle where it is made itself."""
        number = self._number(node)
        self._uses[number] += 1
        if self._uses[number] == 1:
            for child in _beside(node):
                self.count(child)

    def note(self, node: Node) -> None:
        """Note a node that is used twice, or else what below it is."""
        number = self._number(node)
        if self._uses[number] > 1 and isinstance(node, Map | Stored):
            self.found[id(node)] = node, number
            return
        for child in _beside(node):
            self.note(child)

    def _number(self, node: Node) -> int:
        if id(node) not in self._known:
            says = (_own(node), tuple(map(self._number, children(node))))
            self._known[id(node)] = self._numbers.setdefault(says, len(self._numbers))
        return self._known[id(node)]


def _beside(node: Node) -> tuple[Node, ...]:
    """What a node needs in the same rectangle."""
    if not isinstance(node, Map):
        return ()
    return tuple(entry.node for entry in node.inputs if entry.access is Access.BLOCK)


def _own(node: Node) -> Hashable:
    """What a node says but for the nodes that it reads."""
    match node:
        case Stored():
            return node
        case Map():
            return node.spec, node.op, tuple(entry.access for entry in node.inputs), node.whole_rows
        case Statistic():
            return "statistic", node.spec, node.op, len(node.given), node.whole_rows
        case View():
            return node.spec, node.arrangement, node.rows
        case Output():
            return node.bundle.op, node.bundle.specs, node.index
