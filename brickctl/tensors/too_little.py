"""Plans that need more memory than they may take: said when planning, with what would be enough."""

from __future__ import annotations

import math
import os

from brickctl.core.document import shown
from brickctl.core.sizes import format_size
from brickctl.errors import NoSpace

_NO_LIMIT = 1 << 60


def memory_of_machine() -> int:
    """Bytes of this machine, what a plan may take unless told otherwise; as good as no limit where it does not tell."""
    names = {"SC_PAGE_SIZE", "SC_PHYS_PAGES"}
    return math.prod(map(os.sysconf, names)) if names <= os.sysconf_names.keys() else _NO_LIMIT


def memory_too_small(bundles: int, largest: str, peak: int, tensor: str, memory: int) -> NoSpace:
    """Of what is allowed: the bytes that bundles of one tensor, or else a block of one, need with all that stays."""
    need = -(-(bundles + peak) >> 20)
    whole = f"`{shown(largest)}`, made as a whole," if bundles else ""
    what = whole or (f"one block of `{shown(tensor)}`" if tensor else "copying")
    allowed = f"{memory / (1 << 20):.3g} MiB" if memory >> 20 else f"{memory:,} bytes"
    cause = f"{what} needs {need} MiB of buffers, and {allowed} are allowed"
    return NoSpace("the memory budget is too small", causes=(cause,), hint=f"pass --memory {need}MiB")


def machine_too_small(tensor: str, need: int, machine: int) -> NoSpace:
    """Of what there is."""
    cause = f"`{shown(tensor)}`, made as a whole, needs {format_size(need)} of buffers; it has {format_size(machine)}"
    hint = "give that tensor another method, one that works block by block"
    return NoSpace("the memory of this machine is too small", causes=(cause,), hint=hint)


def device_too_small(tensor: str, need: int, device: str, free: int) -> NoSpace:
    """Of what a device has left beside other programs."""
    cause = f"`{shown(tensor)}`, made as a whole, needs {format_size(need)} there; {format_size(free)} are free"
    hint = "build without --device, end what else runs there, or take another device"
    return NoSpace(f"the memory of {device} is too small", causes=(cause,), hint=hint)
