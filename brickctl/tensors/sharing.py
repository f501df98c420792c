"""What several parts of one block have in common, such as the base in three deltas: read and widened once."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from brickctl.core.nodes import Access, Map, Node, Stored, key

if TYPE_CHECKING:
    from collections.abc import Callable

    from brickctl.core.digests import Sha256


@lru_cache(maxsize=512)
def shared_nodes(roots: tuple[Node, ...]) -> tuple[tuple[Node, Sha256], ...]:
    """Every node that blocks of the roots need more than once in the same rectangle, with its key.

    Only the outermost: what lies below a shared node is made once anyway. Equal nodes share a key.
    """
    uses: Counter[Sha256] = Counter()
    for root in roots:
        _visit(root, partial(_count, uses))
    found: dict[int, tuple[Node, Sha256]] = {}
    for root in roots:
        _visit(root, partial(_note, uses, found))
    return tuple(found.values())


def _visit(node: Node, meet: Callable[[Node], bool]) -> None:
    """Meet a node and what it needs in the same rectangle, as far down as `meet` says."""
    if isinstance(node, Map | Stored) and meet(node) and isinstance(node, Map):
        for entry in node.inputs:
            if entry.access is Access.BLOCK:
                _visit(entry.node, meet)


def _count(uses: Counter[Sha256], node: Node) -> bool:
    """Go on below a node at the first time only."""
    uses[key(node)] += 1
    return uses[key(node)] == 1


def _note(uses: Counter[Sha256], found: dict[int, tuple[Node, Sha256]], node: Node) -> bool:
    """Go on below a node that is not shared."""
    if uses[key(node)] < 2:  # noqa: PLR2004 - once is not shared
        return True
    found[id(node)] = node, key(node)
    return False
