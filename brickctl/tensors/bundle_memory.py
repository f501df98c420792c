"""How much memory the bundles of a plan take: whole matrices, while they are made and until they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from brickctl.core.graph import walk
from brickctl.core.nodes import Bundle, Output, blocks_of
from brickctl.core.regions import whole
from brickctl.tensors.block_memory import LARGEST_ROOM, peaks
from brickctl.tensors.kernels import find_bundle
from brickctl.tensors.spans import Span, most_at_once, spans

if TYPE_CHECKING:
    from brickctl.core.plan import Plan

MOST_AT_ONCE = 3
"""Bundles that are made at once: those of one tensor, and of the two that come after it."""

Needed = Sequence[tuple[str, dict[Bundle, Span]]]
"""Each tensor that has bundles, and for which blocks it needs them."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One kind of memory: bytes that a bundle takes of it while it is made, and of what was made, which stays."""

    work: Callable[[Bundle], int]
    made: Callable[[Bundle], int]


def bundles_of(plan: Plan) -> Needed:
    """The tensors of a plan that have some."""
    return [(name, spans(root)) for name, root in plan.computed if any(isinstance(one, Output) for one in walk(root))]


def bundle_memory(plan: Plan, at_once: int = 1, blocks: int = 1, memory: Memory | None = None) -> tuple[int, str]:
    """Bytes while the most demanding bundles are made, and its tensor; those of tensors before may still be there.

    A tensor of many matrices has those that so many blocks in a row need. Unless told otherwise all are made here.
    """
    return memory_of_bundles(bundles_of(plan), at_once, blocks, memory or HERE)


def memory_of_bundles(needed: Needed, at_once: int, blocks: int, memory: Memory) -> tuple[int, str]:
    """As `bundle_memory`."""
    if not needed:
        return 0, ""
    works = {name: max(map(memory.work, bundles)) for name, bundles in needed}
    _, tensor = max((works[name] + most_at_once(bundles, blocks, memory.made), name) for name, bundles in needed)
    others = min(at_once, _count(needed)) - 1
    made = max(memory.made(bundle) for _, bundles in needed for bundle in bundles)
    work = max(works.values())
    return kept_memory(needed, at_once, blocks, memory) + work + others * (work + made), tensor


def kept_memory(needed: Needed, at_once: int, blocks: int, memory: Memory) -> int:
    """Bytes of bundles that stay: those of one tensor, and of the one before it; or of those ahead."""
    most = max((most_at_once(bundles, blocks, memory.made) for _, bundles in needed), default=0)
    return most * (1 + (min(len(needed) - 1, 1) if at_once == 1 else min(_count(needed) - 1, MOST_AT_ONCE)))


def is_movable(bundle: Bundle) -> bool:
    """Whether a device can make it."""
    return find_bundle(bundle.op).movable


def _count(needed: Needed) -> int:
    return sum(len(bundles) for _, bundles in needed)


def _work(bundle: Bundle) -> int:
    """Bytes while a bundle is made, beside its outputs; of inputs that it sees in turn one counts."""
    return _inputs(bundle) + _own(bundle)


def _own(bundle: Bundle) -> int:
    """What its kernel takes, an input that it sees in turn included."""
    return find_bundle(bundle.op).scratch(bundle)


@lru_cache(maxsize=1 << 14)  # asked for again with every number of blocks and threads
def _inputs(bundle: Bundle) -> int:
    """What it takes to make the inputs, and those that are there at once."""
    if find_bundle(bundle.op).in_turn:
        firsts = ((node, next(blocks_of(node), None)) for node in bundle.inputs)
        return max((sum(peaks(node, first, LARGEST_ROOM)) for node, first in firsts if first is not None), default=0)
    below = max((sum(peaks(node, whole(node.spec), LARGEST_ROOM)) for node in bundle.inputs), default=0)
    return below + _at_once(bundle)


def _at_once(bundle: Bundle) -> int:
    """Bytes of the inputs that are there at once."""
    return 0 if find_bundle(bundle.op).in_turn else sum(node.spec.bytes for node in bundle.inputs)


def _output_bytes(bundle: Bundle) -> int:
    """Bytes of what a bundle makes, which stay."""
    return sum(spec.bytes for spec in bundle.specs)


HERE = Memory(_work, _output_bytes)
"""This machine's, where all bundles are made in it."""

BESIDE_DEVICE = Memory(
    lambda bundle: _inputs(bundle) if is_movable(bundle) else _work(bundle),
    lambda bundle: 0 if is_movable(bundle) else _output_bytes(bundle),
)
"""This machine's, where a device makes those that it can make."""

_MORE_ON_DEVICE = 1.5
"""How much more a kernel takes on a device than here, at most: cuSOLVER works in other memory than what it is given.

Measured (tests/benchmarks/README.md): nearly that for `iso_c` of small matrices, 1.3 for `knots`, 1.2 for `tsv`.
"""

ON_DEVICE = Memory(
    lambda bundle: int(_MORE_ON_DEVICE * _own(bundle)) + _at_once(bundle) if is_movable(bundle) else 0,
    lambda bundle: _output_bytes(bundle) if is_movable(bundle) else 0,
)
"""The device's."""
