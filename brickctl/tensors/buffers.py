"""Buffers that are allocated once and used again: fresh memory costs more than the arithmetic done in it."""

from __future__ import annotations

import ctypes
import mmap
import threading
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from brickctl.core.dtypes import DType
    from brickctl.tensors.arrays import Array

_SMALLEST = mmap.PAGESIZE
_FLOATS = {"F64": "float64", "F32": "float32"}
_INTEGERS = {"U8": "uint8", "I8": "int8", "I32": "int32", "I64": "int64"}


class Buffer:
    """Anonymous page-aligned memory, seen as bytes or as a matrix."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = mmap.mmap(-1, size)
        self._views: dict[tuple[DType, int, int], Tensor] = {}

    @cached_property
    def address(self) -> int:
        """Where its first byte lies."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def bytes(self, count: int) -> memoryview:
        """The first `count` bytes."""
        return memoryview(self.memory)[:count]

    def matrix(self, dtype: DType, rows: int, columns: int) -> Tensor:
        """The first rows * columns elements as a torch tensor (rows, columns) on the same memory."""
        view = self._views.get((dtype, rows, columns))
        if view is None:
            view = self._views[dtype, rows, columns] = seen_as(self.memory, dtype, rows, columns)
        return view

    def array(self, dtype: DType, rows: int, columns: int) -> Array:
        """The same as an array of NumPy, for fp64 and fp32."""
        return array_in(self.memory, dtype, rows, columns)


def seen_as(memory: mmap.mmap, dtype: DType, rows: int, columns: int, offset: int = 0) -> Tensor:
    """What lies at `offset`, in bytes, as a torch tensor (rows, columns) on the same memory."""
    import torch

    name = dtype.torch_name or _INTEGERS.get(dtype.code)
    if name is None:
        msg = f"no arithmetic on {dtype.code}"
        raise TypeError(msg)
    flat = torch.frombuffer(memory, dtype=getattr(torch, name), count=rows * columns, offset=offset)
    return flat.view(rows, columns)


def array_in(memory: mmap.mmap, dtype: DType, rows: int, columns: int, offset: int = 0) -> Array:
    """The same as an array of NumPy, for fp64 and fp32."""
    import numpy as np

    return np.frombuffer(memory, dtype=_FLOATS[dtype.code], count=rows * columns, offset=offset).reshape(rows, columns)


class Buffers:
    """A pool of buffers, shared by threads; sizes are rounded up to powers of two.

    Free buffers are let go of where keeping them would take the pool over `limit` bytes; what is in use is never
    limited here: whoever asks for work bounds it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free: dict[int, list[Buffer]] = {}
        self._guard = threading.Lock()
        self.allocated = 0

    def take(self, size: int) -> Buffer:
        """A buffer of at least `size` bytes; its content is whatever was there before."""
        rounded = buffer_size(size)
        with self._guard:
            free = self._free.get(rounded)
            if free:
                return free.pop()
            self._make_room(rounded)
            self.allocated += rounded
        return Buffer(rounded)

    def _make_room(self, size: int) -> None:
        """Let go of free buffers, the largest first, until `size` more bytes fit."""
        for other in sorted(self._free, reverse=True):
            while self._free[other] and self.allocated + size > self._limit:
                self._free[other].pop()
                self.allocated -= other

    def give_back(self, buffer: Buffer) -> None:
        """Let others use it."""
        with self._guard:
            self._free.setdefault(buffer.size, []).append(buffer)


def buffer_size(size: int) -> int:
    """How large the buffer is that `take(size)` gives."""
    return max(_SMALLEST, 1 << (max(size, 1) - 1).bit_length())
