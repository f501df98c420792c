"""How a plan keeps to a budget of memory: how many work at once, and how much of what they make is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from brickctl.core.graph import outputs, walk
from brickctl.core.nodes import Output
from brickctl.tensors.block_memory import LARGEST_ROOM, SMALLEST_ROOM, most_demanding
from brickctl.tensors.buffers import buffer_size
from brickctl.tensors.bundle_memory import (
    BESIDE_DEVICE,
    HERE,
    MOST_AT_ONCE,
    ON_DEVICE,
    bundle_memory,
    bundles_of,
    is_movable,
    kept_memory,
    memory_of_bundles,
)
from brickctl.tensors.too_little import device_too_small, machine_too_small, memory_of_machine, memory_too_small

if TYPE_CHECKING:
    from brickctl.core.plan import Plan
    from brickctl.tensors.bundle_memory import Memory, Needed
    from brickctl.tensors.device import Device

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
        bundles: bytes of bundles that are kept here at once.
        at_once: how many bundles are made at once.
        blocks: bytes that all blocks may take.
        device: where bundles are made that can be moved; None is here.
        bundles_there: bytes of those that are kept there at once.
        on_device: bytes that they take there, while they are made and kept.
    """

    threads: int
    window: int
    room: int
    bundles: int
    at_once: int
    blocks: int
    device: Device | None = None
    bundles_there: int = 0
    on_device: int = 0


def share(plan: Plan, *, threads: int, memory: int | None, device: Device | None = None) -> Share:
    """The widest strips with which all threads can work at once in `memory` bytes; else the narrowest, and fewer.

    Bundles come first: one at a time, or, where a budget is given that is more than enough, several at once. None is
    what they need, and the default for blocks. Those that a device makes need what it has free, and are several at once
    if they fit: one thread reads while it works for another.

    Raises:
        NoSpace: a bundle or one block does not fit; names the tensor.
        UsageFault: there is no such device.
    """
    bundles = _Bundles.of(plan, memory, device)
    most = _blocks_in_hand(plan, bundles, threads)
    at_once = _bundles_at_once(plan, bundles, threads)
    needed, largest = bundles.bytes_here(at_once, most)
    bundles.check(at_once, most)
    left = DEFAULT_MEMORY if memory is None else memory - needed
    room = LARGEST_ROOM
    peak, tensor = most_demanding(plan, room)
    while peak * threads > left and room > SMALLEST_ROOM:
        room = max(SMALLEST_ROOM, min(room, buffer_size(max(left, 1))) // 2)
        peak, tensor = most_demanding(plan, room)
    if peak > left:
        raise memory_too_small(needed, largest, peak, tensor, left + needed)
    window = max(1, min(most, left // max(peak, 1)))
    return Share(
        threads=min(threads, window),
        window=window,
        room=room,
        bundles=kept_memory(bundles.needed, at_once, window, bundles.here),
        at_once=at_once,
        blocks=left,
        device=bundles.device,
        bundles_there=kept_memory(bundles.needed, at_once, window, ON_DEVICE) if bundles.device else 0,
        on_device=bundles.bytes_there(at_once, most)[0],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundles:
    """The bundles of a plan, the bytes of this machine that they may take, and the device that makes some, if any."""

    needed: Needed
    memory: int | None
    machine: int
    device: Device | None
    free: int

    @classmethod
    def of(cls, plan: Plan, memory: int | None, device: Device | None) -> Self:
        needed = bundles_of(plan)
        there = device if any(is_movable(bundle) for _, bundles in needed for bundle in bundles) else None
        free = 0 if there is None else there.free()
        return cls(needed=needed, memory=memory, machine=memory_of_machine(), device=there, free=free)

    @property
    def here(self) -> Memory:
        """What bundles take here."""
        return HERE if self.device is None else BESIDE_DEVICE

    def bytes_here(self, at_once: int, blocks: int) -> tuple[int, str]:
        """Bytes of this machine, and the most demanding tensor."""
        return memory_of_bundles(self.needed, at_once, blocks, self.here)

    def bytes_there(self, at_once: int, blocks: int) -> tuple[int, str]:
        """Bytes of the device, and the most demanding tensor."""
        return (0, "") if self.device is None else memory_of_bundles(self.needed, at_once, blocks, ON_DEVICE)

    def fit(self, at_once: int, blocks: int, beside: int) -> bool:
        """Whether there is room for them, here with so many bytes beside them."""
        allowed = self.machine if self.memory is None else self.memory
        return (
            self.bytes_here(at_once, blocks)[0] + beside <= allowed
            and self.bytes_there(at_once, blocks)[0] <= self.free
        )

    def check(self, at_once: int, blocks: int) -> None:
        """Refuse what there is no memory for at all; a budget is looked at with the blocks.

        Raises:
            NoSpace: there is not.
        """
        here, largest = self.bytes_here(at_once, blocks)
        if self.memory is None and here > self.machine:
            raise machine_too_small(largest, here, self.machine)
        there, largest = self.bytes_there(at_once, blocks)
        if self.device is not None and there > self.free:
            raise device_too_small(largest, there, self.device.name, self.free)


def _blocks_in_hand(plan: Plan, bundles: _Bundles, threads: int) -> int:
    """How many blocks may be under way: fewer where what they need of a tensor of many matrices does not fit."""
    blocks = _PIECES_A_THREAD * threads
    least = most_demanding(plan, SMALLEST_ROOM)[0] if bundles.needed else 0
    while blocks > 1 and not bundles.fit(1, blocks, least):
        blocks //= 2
    return blocks


def _bundles_at_once(plan: Plan, bundles: _Bundles, threads: int) -> int:
    """How many of all threads may make bundles, with the default left for blocks; one where a bundle needs another."""
    is_bounded = bundles.memory is not None or bundles.device is not None
    if not is_bounded or not bundles.needed or threads == 1 or _has_nested_bundles(plan):
        return 1
    blocks = _PIECES_A_THREAD * threads
    counts = range(min(threads, MOST_AT_ONCE), 1, -1)
    return next((count for count in counts if bundles.fit(count, blocks, DEFAULT_MEMORY)), 1)


def _has_nested_bundles(plan: Plan) -> bool:
    asked_for = {one.bundle for _, root in plan.computed for one in outputs(root)}
    return any(isinstance(node, Output) for one in asked_for for child in one.inputs for node in walk(child))


def peak_memory(plan: Plan, device: Device | None = None) -> int:
    """Bytes of buffers without which the plan cannot run: its most demanding bundle and block, in narrow strips."""
    bundles = bundle_memory(plan, memory=HERE if device is None else BESIDE_DEVICE)[0]
    return bundles + most_demanding(plan, SMALLEST_ROOM)[0]


def expected_memory(plan: Plan, *, threads: int, memory: int | None, device: Device | None = None) -> int:
    """Bytes of buffers of this machine that a run in this budget will hold at most.

    Raises:
        NoSpace: one block does not fit.
        UsageFault: there is no such device.
    """
    part = share(plan, threads=threads, memory=memory, device=device)
    bundles = bundle_memory(plan, part.at_once, part.window, HERE if part.device is None else BESIDE_DEVICE)[0]
    return bundles + min(part.blocks, part.window * most_demanding(plan, part.room)[0])
