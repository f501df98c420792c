"""Statistics of a plan in memory that processes share: written by the one that made it, read by all."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from brickctl.core.nodes import key
from brickctl.tensors.buffers import array_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brickctl.core.digests import Sha256
    from brickctl.core.nodes import Statistic
    from brickctl.tensors.arrays import Array

_LINE = 64
"""Bytes that places are aligned to: a line of a cache."""


class Board:
    """A place for each statistic, made before the processes are forked, which so know where each has its place.

    Nobody here knows whether something stands in a place: who hands out the work does.
    """

    def __init__(self, nodes: Iterable[Statistic]) -> None:
        self._places: dict[Sha256, int] = {}
        end = 0
        for node in nodes:
            if key(node) not in self._places:
                self._places[key(node)] = end
                end += -(-node.spec.bytes // _LINE) * _LINE
        self._memory = mmap.mmap(-1, max(end, _LINE))

    def write(self, node: Statistic, result: Array) -> None:
        """Let the others see a statistic (rows, columns)."""
        self.read(node)[...] = result

    def read(self, node: Statistic) -> Array:
        """A statistic (rows, columns), which is not copied."""
        spec = node.spec
        return array_in(self._memory, spec.dtype, spec.rows, spec.columns, self._places[key(node)])
