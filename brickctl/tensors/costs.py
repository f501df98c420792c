"""What a plan costs in time: bytes that move, and arithmetic, counted without doing any of it.

The figures are for an estimate and decide nothing else. They are nanoseconds of one core of the machine on which they
were measured (`REFERENCE_STEP` says how fast that is); a kernel that is not listed counts as plain element-wise steps,
which is what most of them are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from brickctl.core.graph import children, statistics
from brickctl.core.nodes import Bundle, Map, Node, Output, Statistic, Stored
from brickctl.core.regions import Access
from brickctl.tensors.fused.formula import find_formula
from brickctl.tensors.fused.machine import machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brickctl.core.plan import Shard

REFERENCE_STEP = 0.5
"""Nanoseconds of one element on the machine of the table: widened from fp32 and multiplied, then added, in fp64."""

_READ = 0.15  # a byte of a file that the system has in memory
_PLAIN = 0.25  # an element that goes into an element-wise step, or comes out
_COMPILED = 0.1  # the same where a formula runs on the machine
_PRODUCT = 0.1  # one of the terms of an element of a matrix product
_SCANNED = 2.0, 2.0  # an element that a statistic looks at
_FACTORISED = 0.2  # rows times columns times the smaller of them, for each input of a factorisation
_ADAM = 10.0  # an element in each step of Adam on some rows, with a gradient of low rank
_LAYER = 20.0  # an element of a module that passes through PEFT's own layer

_STEPS = {
    "drop-largest": (0.25, 1.4),
    "keep-largest": (0.15, 1.4),
    "merge.breadcrumbs_ties": (0.45, 2.4),
    "merge.consensus": (4.2, 4.2),
    "merge.dare_ties": (0.45, 2.9),
    "merge.della": (0.45, 2.9),
    "merge.emr": (3.5, 3.5),
    "merge.ram": (2.1, 2.1),
    "merge.ramplus_tl": (3.5, 3.5),
    "merge.sce": (4.5, 4.5),
    "merge.ties": (0.45, 3.1),
    "thin": (0.65, 2.5),
}
"""Of kernels that do more: nanoseconds for each element of an input, compiled and by the kernel itself."""

_SCANS = {
    "gram": (1, (0.35, 2.0)),
    "l1-norms": (1, (0.25, 2.0)),
    "quartiles": (2, (1.8, 1.8)),
    "row-divergence": (1, (18.0, 18.0)),
    "thinned-norms": (1, (0.9, 3.3)),
    "top-k": (1, (1.2, 3.0)),
}
"""Of statistics: how often they look at everything, and nanoseconds for each element each time; else once."""

_FACTORISATIONS = {"merge.tsv": 0.6, "merge.wudi": 7.0}
_DRAWN_BY_RANK = 60.0
"""What a random choice by rank of magnitude, as DELLA makes it, costs instead of one that treats all entries alike."""


@dataclass(frozen=True, slots=True)
class Work:
    """What making shards takes.

    Attributes:
        written: bytes of the shards.
        spread: seconds of one core at arithmetic and reading that threads share.
        alone: seconds at steps of which only one runs at once,
        movable: and at those of them that a device may make instead.
    """

    written: int = 0
    spread: float = 0.0
    alone: float = 0.0
    movable: float = 0.0


class _Cost(NamedTuple):
    """Nanoseconds, as in `Work`."""

    spread: float = 0.0
    alone: float = 0.0
    movable: float = 0.0


def work_of(shards: Iterable[Shard]) -> Work:
    """The work of all these shards."""
    shards = tuple(shards)
    cost = _sum(_tensor(node) for shard in shards for _, node in shard.tensors)
    seconds = (part * 1e-9 for part in cost)
    return Work(sum(shard.size for shard in shards), *seconds)


def _sum(costs: Iterable[_Cost]) -> _Cost:
    return _Cost(*map(sum, zip(_Cost(), *costs, strict=True)))


def _tensor(root: Node) -> _Cost:
    if isinstance(root, Stored):  # the kernel copies it
        return _Cost(spread=root.spec.bytes * _READ)
    costs = [_blocks((root,))]
    waiting, seen = list(statistics(root)), set[Statistic]()
    while waiting:
        found = waiting.pop()
        if found not in seen:
            seen.add(found)
            waiting += chain.from_iterable(map(statistics, (*found.inputs, *found.given)))
            costs.append(_statistic(found))
    return _sum(costs)


def _statistic(node: Statistic) -> _Cost:
    """Every look makes the inputs again."""
    scans, costs = _SCANS.get(node.op.name, (1, _SCANNED))
    each = _DRAWN_BY_RANK if _by_rank(node) else costs[machine() is None]
    made = _blocks(node.inputs)
    looked_at = sum(entry.spec.elements for entry in node.inputs)
    return made._replace(spread=scans * (made.spread + each * looked_at))


def _blocks(roots: tuple[Node, ...]) -> _Cost:
    """All blocks of some nodes, once; what they have in common is made once, statistics below are not counted."""
    found, bundles = dict.fromkeys(chain.from_iterable(map(_below, roots))), dict[Bundle, None]()
    for node in found:
        if isinstance(node, Output):
            bundles[node.bundle] = None
    return _sum((_Cost(spread=sum(map(_step, found))), *map(_bundle, bundles)))


def _below(node: Node) -> Iterator[Node]:
    if not isinstance(node, Statistic | Output):
        for child in children(node):
            yield from _below(child)
    yield node


def _step(node: Node) -> float:
    """One node, without what is below it."""
    if isinstance(node, Stored):
        return node.spec.bytes * _READ
    if not isinstance(node, Map):
        return node.spec.elements * _PLAIN if not isinstance(node, Statistic) else 0.0
    if node.op.name.startswith("product"):
        return node.spec.elements * node.inputs[0].node.spec.columns * _PRODUCT
    if node.op.name == "wudi-rows":
        return node.spec.elements * float(node.op.arguments()["steps"]) * _ADAM
    entered = sum(entry.node.spec.elements for entry in node.inputs if entry.access is Access.BLOCK)
    if _by_rank(node):
        return entered * _DRAWN_BY_RANK
    is_compiled = machine() is not None and find_formula(node.op) is not None
    plain = _COMPILED if is_compiled else _PLAIN
    known = _STEPS.get(node.op.name)
    return (entered + node.spec.elements) * plain if known is None else entered * known[not is_compiled]


def _by_rank(node: Map | Statistic) -> bool:
    if node.op.name not in {"thin", "thinned-norms"}:
        return False
    arguments = node.op.arguments()
    return any(one["epsilon"] for one in arguments.get("each", [arguments]))


def _bundle(bundle: Bundle) -> _Cost:
    """One thread makes the inputs and what comes of them."""
    elements, inputs = sum(spec.elements for spec in bundle.specs), _blocks(bundle.inputs)
    if bundle.op.name == "peft-layer":
        return _Cost(alone=sum(inputs) + elements * _LAYER)
    spec = bundle.specs[0]
    each = _FACTORISATIONS.get(bundle.op.name, _FACTORISED)
    made = elements * min(spec.rows, spec.columns) * len(bundle.inputs) * each
    return _Cost(alone=inputs.spread + inputs.alone, movable=inputs.movable + made)
