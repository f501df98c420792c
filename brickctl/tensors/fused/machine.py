"""The compiled machine that runs steps; where it was not compiled, kernels do the same one by one."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.regions import Region
    from brickctl.tensors.fused.formula import Code, Notes, Step

SOURCES = "machine.c", "philox.h"
"""What the machine is compiled from; the compile hook has the same list."""


class _Step(ctypes.Structure):
    """As in machine.c."""

    _fields_ = (
        ("code", ctypes.c_int32),
        ("to", ctypes.c_int32),
        ("index", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("reads", ctypes.c_int32),
        ("numbers", ctypes.c_int32),
    )


@cache
def machine() -> ctypes.CDLL | None:
    """The machine, if this brickctl was installed where a C compiler was."""
    here = Path(__file__)
    try:
        found = ctypes.CDLL(str(here.with_name("libmachine.so")))
        found.fused_source.restype = ctypes.c_uint32
        source = b"".join(here.with_name(name).read_bytes() for name in SOURCES)
        if found.fused_source() != int(hashlib.sha256(source).hexdigest()[:8], 16):  # left behind by an older checkout
            return None
    except (OSError, AttributeError):
        return None
    found.fused_register_bytes.restype = ctypes.c_size_t
    found.fused_run.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.c_size_t,
    )
    found.fused_sort_out.restype = None
    found.fused_sort_out.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
    return found


class Program:
    """The steps of a formula as the machine reads them; belongs to one thread.

    Args:
        notes: the steps.
        results: for each output the step that makes it, and the one that stores it.
        machine: what runs it.
    """

    def __init__(self, notes: Notes, results: Sequence[tuple[int, Code]], machine: ctypes.CDLL) -> None:
        self._machine = machine
        self._limits = notes.limits
        self._bounds = (ctypes.c_double * (3 * len(notes.limits) + 1))()
        self._streams = (ctypes.c_uint64 * (3 * len(notes.streams) + 1))(*(w for one in notes.streams for w in one))
        tables = _Tables()
        count = tables.place(notes.steps, results)
        self._steps = (_Step * len(tables.steps))(*tables.steps)
        self._places = (ctypes.c_int32 * (len(tables.places) + _SPARE))(*tables.places)
        self._constants = (ctypes.c_double * (len(tables.constants) + _SPARE))(*tables.constants)
        self._registers = mmap.mmap(-1, count * machine.fused_register_bytes())  # beside the heap, which it would split
        self._place = ctypes.addressof(ctypes.c_char.from_buffer(self._registers))

    def run(self, inputs: Sequence[int], outputs: Sequence[int], region: Region, columns: int) -> bool:
        """Go over one rectangle, and say whether everything that comes out is finite.

        Args:
            inputs: the addresses of the inputs, of which each element lies behind the one before.
            outputs: those of the outputs.
            region: the rectangle.
            columns: of the tensor, whose draws are numbered by element.
        """
        for at, limits in enumerate(self._limits):
            self._bounds[3 * at : 3 * at + 3] = list(limits(region))
        ins, outs = (ctypes.c_void_p * (len(inputs) + 1))(*inputs), (ctypes.c_void_p * len(outputs))(*outputs)
        first = region.top * columns + region.left
        steps = self._steps, len(self._steps), self._places, self._constants
        room = self._place, self._bounds, self._streams
        return bool(self._machine.fused_run(*steps, ins, outs, *room, first, region.elements))


_SPARE = 2
"""Entries at the end of a table: the machine looks at two, whether a step has them or not."""


class _Tables:
    """Steps as the machine reads them."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.places: list[int] = []
        self.constants: list[float] = []

    def place(self, steps: Sequence[Step], results: Sequence[tuple[int, Code]]) -> int:
        """Give each step the register that it fills and those that it reads, and return the number of registers.

        One is used again once nobody will read it; a step never fills a register that it reads.
        """
        last = {number: number for number in range(len(steps))}
        for number, step in enumerate(steps):
            last |= dict.fromkeys(step.reads, number)
        place: dict[int, int] = {}
        free: list[int] = []
        count = 0
        for number, step in enumerate(steps):
            if not free:
                free.append(count)
                count += 1
            place[number] = free.pop()
            self._add(step.code, place[number], [place[read] for read in step.reads], step.index, step.numbers)
            for output, (result, store) in enumerate(results):
                if result == number:
                    self._add(store, output, [place[number]])
            free += [place[read] for read in {*step.reads, number} if last[read] == number]
        return count

    def _add(self, code: Code, to: int, reads: Sequence[int], index: int = -1, numbers: Sequence[float] = ()) -> None:
        self.steps.append(_Step(code, to, index, len(reads), len(self.places), len(self.constants)))
        self.places += reads
        self.constants += numbers
