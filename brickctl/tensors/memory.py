"""How a plan keeps to a budget of memory: how many work at once, and how much of what they make is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.graph import outputs, walk
from brickctl.core.nodes import Output
from brickctl.tensors.block_memory import LARGEST_ROOM, SMALLEST_ROOM, most_demanding
from brickctl.tensors.buffers import buffer_size
from brickctl.tensors.bundle_memory import MOST_AT_ONCE, bundle_memory, bundles_of, kept_memory, memory_of_bundles
from brickctl.tensors.too_little import machine_too_small, memory_of_machine, memory_too_small

if TYPE_CHECKING:
    from brickctl.core.plan import Plan
    from brickctl.tensors.bundle_memory import Needed

_PIECES_A_THREAD = 4

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
    machine, needed = memory_of_machine(), bundles_of(plan)
    most = _blocks_in_hand(plan, needed, threads, machine if memory is None else memory)
    at_once = _bundles_at_once(plan, needed, threads, memory)
    bundles, largest = memory_of_bundles(needed, at_once, most)
    left = DEFAULT_MEMORY if memory is None else memory - bundles
    if memory is None and bundles > machine:
        raise machine_too_small(largest, bundles, machine)
    room = LARGEST_ROOM
    peak, tensor = most_demanding(plan, room)
    while peak * threads > left and room > SMALLEST_ROOM:
        room = max(SMALLEST_ROOM, min(room, buffer_size(max(left, 1))) // 2)
        peak, tensor = most_demanding(plan, room)
    if peak > left:
        raise memory_too_small(bundles, largest, peak, tensor, left + bundles)
    window = max(1, min(most, left // max(peak, 1)))
    kept = kept_memory(needed, at_once, window)
    return Share(threads=min(threads, window), window=window, room=room, bundles=kept, at_once=at_once, blocks=left)


def _blocks_in_hand(plan: Plan, needed: Needed, threads: int, memory: int) -> int:
    """How many blocks may be under way: fewer where what they need of a tensor of many matrices does not fit."""
    blocks = _PIECES_A_THREAD * threads
    least = most_demanding(plan, SMALLEST_ROOM)[0] if needed else 0
    while blocks > 1 and memory_of_bundles(needed, 1, blocks)[0] + least > memory:
        blocks //= 2
    return blocks


def _bundles_at_once(plan: Plan, needed: Needed, threads: int, memory: int | None) -> int:
    """How many of all threads may make bundles, with the default left for blocks; one where a bundle needs another."""
    if memory is None or not needed or threads == 1 or _has_nested_bundles(plan):
        return 1
    blocks = _PIECES_A_THREAD * threads
    left = memory - DEFAULT_MEMORY
    counts = range(min(threads, MOST_AT_ONCE), 1, -1)
    return next((count for count in counts if memory_of_bundles(needed, count, blocks)[0] <= left), 1)


def _has_nested_bundles(plan: Plan) -> bool:
    asked_for = {one.bundle for _, root in plan.computed for one in outputs(root)}
    return any(isinstance(node, Output) for one in asked_for for child in one.inputs for node in walk(child))


def peak_memory(plan: Plan) -> int:
    """Bytes of buffers without which the plan cannot run: its most demanding bundle and block, in narrow strips."""
    return bundle_memory(plan)[0] + most_demanding(plan, SMALLEST_ROOM)[0]


def expected_memory(plan: Plan, *, threads: int, memory: int | None) -> int:
    """Bytes of buffers that a run in this budget will hold at most.

    Raises:
        NoSpace: one block does not fit.
    """
    part = share(plan, threads=threads, memory=memory)
    bundles = bundle_memory(plan, part.at_once, part.window)[0]
    return bundles + min(part.blocks, part.window * most_demanding(plan, part.room)[0])
