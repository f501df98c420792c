"""How much memory the blocks of a plan take, and how to cut what they need until it fits into a budget.

Some parts of inputs serve many blocks, such as the right factor of a low-rank product, and are kept from one block to
the next: `room` bounds each of them. Where one is larger, blocks are made in vertical strips, and each strip makes its
own part anew. That costs time and changes no bit: a kernel that allows it computes every element by itself.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from brickctl.core.nodes import Map, Node, Output, Statistic, Stored, View, blocks_of, needs_whole_rows
from brickctl.core.regions import Access, Region, whole
from brickctl.tensors.buffers import buffer_size
from brickctl.tensors.kernels import find, find_statistic
from brickctl.tensors.pieces import STRETCH
from brickctl.tensors.sharing import shared_nodes
from brickctl.tensors.views import largest_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.nodes import Input
    from brickctl.core.plan import Plan

SMALLEST_ROOM = 1 << 16
LARGEST_ROOM = 1 << 40
"""Bounds of a room: strips are made no narrower, and none are needed."""

_NARROWED = (Access.COLUMNS, Access.BESIDE)
"""What of an input is smaller where a block is narrower."""


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


def most_demanding(plan: Plan, room: int) -> tuple[int, str]:
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
        passing, staying = peaks(node, region, room)
        peak = max(peak, held + passing)
        held += _bytes(node, region)
        kept += staying
    return peak, kept


def peaks(node: Node, region: Region, room: int) -> tuple[int, int]:
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
        passing, kept = peaks(node, narrow, room)
        return own + passing, kept
    held = peak = kept = 0
    for entry in node.inputs:
        part = entry.access.region(region, entry.node.spec)
        if entry.access is Access.PACKED:
            peak = max(peak, held + _together((entry.node,), part, room))
            held += _bytes(entry.node, part)
            continue
        passing, staying = peaks(entry.node, part, room)
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
        needs, stays = peaks(part.source, part.region, room)
        passing = max(passing, needs)
        kept = max(kept, stays + (needs if part.keep else 0))
    return own + passing, kept


def _bytes(node: Node, region: Region) -> int:
    return buffer_size(region.elements * node.spec.dtype.itemsize)
