"""How much memory blocks take, and how to cut what they need until it fits into a budget.

Some parts of inputs serve many blocks, such as the right factor of a low-rank product, and are kept from one block to
the next: `room` bounds each of them. Where one is larger, blocks are made in vertical strips, and each strip makes its
own part anew. That costs time and changes no bit: a kernel that allows it computes every element by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from brickctl.core.graph import outputs, walk
from brickctl.core.nodes import Bundle, Map, Node, Output, Statistic, Stored, View, blocks_of, needs_whole_rows
from brickctl.core.regions import Access, Region, whole
from brickctl.tensors.buffers import buffer_size
from brickctl.tensors.kernels import find, find_bundle, find_statistic
from brickctl.tensors.pieces import STRETCH
from brickctl.tensors.sharing import shared_nodes
from brickctl.tensors.spans import Span, most_at_once, spans
from brickctl.tensors.too_little import machine_too_small, memory_of_machine, memory_too_small
from brickctl.tensors.views import largest_parts

if TYPE_CHECKING:
    from brickctl.core.nodes import Input
    from brickctl.core.plan import Plan

_SMALLEST_ROOM = 1 << 16
_LARGEST_ROOM = 1 << 40
_PIECES_A_THREAD = 4
_MOST_AT_ONCE = 3
"""Bundles that are made at once: those of one tensor, and of the two that come after it."""

_NARROWED = (Access.COLUMNS, Access.BESIDE)
"""What of an input is smaller where a block is narrower."""


DEFAULT_MEMORY = 128 << 20
"""Bytes of buffers that blocks may take unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How a plan keeps to a budget.

    Attributes:
        threads: how many work at once.
        window: how many pieces may be under way or waiting at once.
        room: bytes of one part that is kept from block to block.
        bundles: bytes of bundles that are kept at once.
        at_once: how many bundles are made at once.
        blocks: bytes that all blocks may take.
    """

    threads: int
    window: int
    room: int
    bundles: int
    at_once: int
    blocks: int


def share(plan: Plan, *, threads: int, memory: int | None) -> Share:
    """The widest strips with which all threads can work at once in `memory` bytes; else the narrowest, and fewer.

    Bundles come first: one at a time, or, where a budget is given that is more than enough, several at once. None is
    what they need, and the default for blocks.

    Raises:
        NoSpace: a bundle or one block does not fit; names the tensor.
    """
    machine, needed = memory_of_machine(), _bundles_of(plan)
    most = _blocks_in_hand(plan, needed, threads, machine if memory is None else memory)
    at_once = _bundles_at_once(plan, needed, threads, memory)
    bundles, largest = _bundle_memory(needed, at_once, most)
    left = DEFAULT_MEMORY if memory is None else memory - bundles
    if memory is None and bundles > machine:
        raise machine_too_small(largest, bundles, machine)
    room = _LARGEST_ROOM
    peak, tensor = _most_demanding(plan, room)
    while peak * threads > left and room > _SMALLEST_ROOM:
        room = max(_SMALLEST_ROOM, min(room, buffer_size(max(left, 1))) // 2)
        peak, tensor = _most_demanding(plan, room)
    if peak > left:
        raise memory_too_small(bundles, largest, peak, tensor, left + bundles)
    window = max(1, min(most, left // max(peak, 1)))
    kept = _kept(needed, at_once, window)
    return Share(threads=min(threads, window), window=window, room=room, bundles=kept, at_once=at_once, blocks=left)


def _blocks_in_hand(plan: Plan, needed: Needed, threads: int, memory: int) -> int:
    """How many blocks may be under way: fewer where what they need of a tensor of many matrices does not fit."""
    blocks = _PIECES_A_THREAD * threads
    least = _most_demanding(plan, _SMALLEST_ROOM)[0] if needed else 0
    while blocks > 1 and _bundle_memory(needed, 1, blocks)[0] + least > memory:
        blocks //= 2
    return blocks


def _bundles_at_once(plan: Plan, needed: Needed, threads: int, memory: int | None) -> int:
    """How many of all threads may make bundles, with the default left for blocks; one where a bundle needs another."""
    if memory is None or not needed or threads == 1 or _has_nested_bundles(plan):
        return 1
    blocks = _PIECES_A_THREAD * threads
    fitting = (count for count in range(min(threads, _MOST_AT_ONCE), 1, -1))
    return next((count for count in fitting if _bundle_memory(needed, count, blocks)[0] + DEFAULT_MEMORY <= memory), 1)


def _has_nested_bundles(plan: Plan) -> bool:
    asked_for = {one.bundle for _, root in plan.computed for one in outputs(root)}
    return any(isinstance(node, Output) for one in asked_for for child in one.inputs for node in walk(child))


def peak_memory(plan: Plan) -> int:
    """Bytes of buffers without which the plan cannot run: its most demanding bundle and block, in narrow strips."""
    return bundle_memory(plan)[0] + _most_demanding(plan, _SMALLEST_ROOM)[0]


def expected_memory(plan: Plan, *, threads: int, memory: int | None) -> int:
    """Bytes of buffers that a run in this budget will hold at most.

    Raises:
        NoSpace: one block does not fit.
    """
    part = share(plan, threads=threads, memory=memory)
    bundles = bundle_memory(plan, part.at_once, part.window)[0]
    return bundles + min(part.blocks, part.window * _most_demanding(plan, part.room)[0])


def bundle_memory(plan: Plan, at_once: int = 1, blocks: int = 1) -> tuple[int, str]:
    """Bytes while the most demanding bundles are made, and its tensor; those of tensors before may still be there.

    A tensor of many matrices has those that so many blocks in a row need.
    """
    return _bundle_memory(_bundles_of(plan), at_once, blocks)


Needed = Sequence[tuple[str, dict[Bundle, Span]]]
"""Each tensor that has bundles, and for which blocks it needs them."""


def _bundles_of(plan: Plan) -> Needed:
    return [(name, spans(root)) for name, root in plan.computed if any(isinstance(one, Output) for one in walk(root))]


def _bundle_memory(needed: Needed, at_once: int, blocks: int) -> tuple[int, str]:
    if not needed:
        return 0, ""
    works = {name: max(map(_work, bundles)) for name, bundles in needed}
    _, tensor = max((works[name] + most_at_once(bundles, blocks), name) for name, bundles in needed)
    others = min(at_once, _count(needed)) - 1
    made = max(_output_bytes(bundle) for _, bundles in needed for bundle in bundles)
    work = max(works.values())
    return _kept(needed, at_once, blocks) + work + others * (work + made), tensor


def _kept(needed: Needed, at_once: int, blocks: int) -> int:
    """Bytes of bundles that stay: those of one tensor, and of the one before it; or of those ahead."""
    most = max((most_at_once(bundles, blocks) for _, bundles in needed), default=0)
    return most * (1 + (min(len(needed) - 1, 1) if at_once == 1 else min(_count(needed) - 1, _MOST_AT_ONCE)))


def _count(needed: Needed) -> int:
    return sum(len(bundles) for _, bundles in needed)


def strips(node: Map, region: Region, room: int) -> tuple[Region, ...]:
    """A rectangle cut into columns so narrow that no part that stays for one of them is larger than `room` bytes."""
    widths = [room // _bytes_a_column(entry) for entry in node.inputs if entry.access in _NARROWED]
    columns = region.right - region.left
    width = min(widths, default=columns)
    if width >= columns or needs_whole_rows(node):
        return (region,)
    width = max(1, width)
    edges = [*range(region.left, region.right, width), region.right]
    return tuple(Region(region.top, region.bottom, left, right) for left, right in pairwise(edges))


def _bytes_a_column(entry: Input) -> int:
    """Bytes of an input that stay for each column of the block."""
    spec = entry.node.spec
    height = spec.rows if entry.access is Access.COLUMNS else spec.columns
    return max(1, height * spec.dtype.itemsize)


def _most_demanding(plan: Plan, room: int) -> tuple[int, str]:
    """Bytes of buffers that the most demanding piece of a plan needs, and the tensor that it belongs to."""
    most = STRETCH, ""
    for name, node in plan.computed:
        first = next(blocks_of(node), None)
        if first is not None:
            most = max(most, (_together((node,), first, room), name))
    return most


def _together(roots: tuple[Node, ...], region: Region, room: int) -> int:
    """Bytes while one rectangle of each root is made, one after another, with what they share."""
    passing, staying = _in_turn([(root, region) for root in roots], room)
    common = {name: found for found, name in shared_nodes(roots)}
    return passing + staying + sum(_bytes(node, region) for node in common.values())


def _in_turn(needed: Sequence[tuple[Node, Region]], room: int) -> tuple[int, int]:
    """Bytes while rectangles are made one after another, all of which are held, and those that stay beside them."""
    held = peak = kept = 0
    for node, region in needed:
        passing, staying = _peaks(node, region, room)
        peak = max(peak, held + passing)
        held += _bytes(node, region)
        kept += staying
    return peak, kept


def _peaks(node: Node, region: Region, room: int) -> tuple[int, int]:
    """Bytes while the rectangle is made, its own included, and beside them bytes that stay for the blocks that follow.

    Inputs are made one after another; what one needed for itself is free again when the next one is made, and what was
    kept in order to make a part that stays is let go of once that part is there.
    """
    own = _bytes(node, region)
    if isinstance(node, Stored):
        return own, 0
    if isinstance(node, Statistic):
        return own + _scan_peak(node, room), buffer_size(node.spec.bytes)
    if isinstance(node, View):
        return _view_peaks(node, region, room, own)
    if isinstance(node, Output):
        return own, 0  # bundles are counted apart
    narrow, *others = strips(node, region, room)
    if others:
        passing, kept = _peaks(node, narrow, room)
        return own + passing, kept
    held = peak = kept = 0
    for entry in node.inputs:
        part = entry.access.region(region, entry.node.spec)
        if entry.access is Access.PACKED:
            peak = max(peak, held + _together((entry.node,), part, room))
            held += _bytes(entry.node, part)
            continue
        passing, staying = _peaks(entry.node, part, room)
        size = _bytes(entry.node, part)
        if entry.access.stays:
            peak = max(peak, held + passing + staying - size)
            kept += size
        else:
            peak = max(peak, held + passing)
            kept += staying
            held += size
    return max(peak, held + own + region.elements * find(node.op).scratch), kept


@lru_cache(maxsize=4096)  # a step that looks at all of what the step before makes, and uses it, would ask twice each
def _scan_peak(node: Statistic, room: int) -> int:
    """Bytes while a statistic is made; what it is given comes first, is small, and stays meanwhile."""
    first = next(node.scanned(), None)
    if first is None:
        return 0
    found = find_statistic(node.op)
    passing, kept = _in_turn([(child, whole(child.spec)) for child in node.given], room)
    held = kept + sum(_bytes(child, whole(child.spec)) for child in node.given)
    scanning = held + _together(node.inputs, first, room) + first.elements * found.scratch + found.fixed
    return max(passing + kept, scanning)


def _view_peaks(node: View, region: Region, room: int, own: int) -> tuple[int, int]:
    """A view holds one part at a time; what must stay whole for the next rectangle stays."""
    passing, kept = 0, 0
    for part in largest_parts(node, region):
        needs, stays = _peaks(part.source, part.region, room)
        passing = max(passing, needs)
        kept = max(kept, stays + (needs if part.keep else 0))
    return own + passing, kept


@lru_cache(maxsize=1 << 14)  # asked for again with every number of blocks and threads
def _work(bundle: Bundle) -> int:
    """Bytes while a bundle is made, beside its outputs; of inputs that it sees in turn one counts."""
    found = find_bundle(bundle.op)
    own = found.scratch(bundle)
    if found.in_turn:
        firsts = ((node, next(blocks_of(node), None)) for node in bundle.inputs)
        below = max((sum(_peaks(node, first, _LARGEST_ROOM)) for node, first in firsts if first is not None), default=0)
        return own + below
    below = max((sum(_peaks(node, whole(node.spec), _LARGEST_ROOM)) for node in bundle.inputs), default=0)
    return own + below + sum(node.spec.bytes for node in bundle.inputs)


def _output_bytes(bundle: Bundle) -> int:
    """Bytes of what a bundle makes, which stay."""
    return sum(spec.bytes for spec in bundle.specs)


def _bytes(node: Node, region: Region) -> int:
    return buffer_size(region.elements * node.spec.dtype.itemsize)
