"""Ways through nodes: what each reads, and what the blocks of one ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.nodes import Map, Output, Statistic, Stored, View

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brickctl.core.nodes import Node


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, each once, inputs first."""
    seen: set[int] = set()

    def below(one: Node) -> Iterator[Node]:
        if id(one) not in seen:
            seen.add(id(one))
            for child in children(one):
                yield from below(child)
            yield one

    return below(node)


def each_once(roots: Iterable[Node]) -> Iterator[Node]:
    """The nodes and everything below them, inputs first; what several read comes once.

    Steps that read the running model twice, as a slerp and its angle do, make 2^n ways down through n of them.
    """
    seen: dict[int, Node] = {}
    waiting = [(root, False) for root in reversed([*roots])]
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            yield node
        elif id(node) not in seen:
            seen[id(node)] = node
            waiting.append((node, True))
            waiting.extend((child, False) for child in reversed(children(node)))


def statistics(node: Node) -> tuple[Statistic, ...]:
    """The statistics that the blocks of a node ask for, each once, without those that only other statistics need."""
    if isinstance(node, Statistic):
        return (node,)
    return tuple(dict.fromkeys(found for child in children(node) for found in statistics(child)))


def outputs(node: Node) -> tuple[Output, ...]:
    """One output of each bundle that the blocks of a node ask for, without those that only other bundles need."""
    if isinstance(node, Output):
        return (node,)
    found = {one.bundle: one for child in children(node) for one in outputs(child)}
    return tuple(found.values())


def children(node: Node) -> tuple[Node, ...]:
    """The nodes that a node reads."""
    match node:
        case Stored():
            return ()
        case Map():
            return tuple(entry.node for entry in node.inputs)
        case Statistic():
            return (*node.inputs, *node.given)
        case View():
            return node.sources
        case Output():
            return node.bundle.inputs
