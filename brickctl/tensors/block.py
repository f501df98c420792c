"""Rectangles of nodes in memory, and those that several kernels need at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from brickctl.core.dtypes import DType
    from brickctl.core.nodes import Node
    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.buffers import Buffer


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of a node, rows and columns, and the buffer that holds it."""

    buffer: Buffer
    dtype: DType
    shape: tuple[int, int]
    finite: bool | None = None
    """Whether it holds neither NaN nor infinity, where that is known already."""

    @property
    def matrix(self) -> Tensor:
        """The elements, for who works with torch."""
        return self.buffer.matrix(self.dtype, *self.shape)

    @property
    def array(self) -> Array:
        """The same for who works with NumPy; of fp64 or fp32."""
        return self.buffer.array(self.dtype, *self.shape)

    def content(self, size: int) -> memoryview:
        """The first `size` bytes: what a file gets."""
        return self.buffer.bytes(size)


@dataclass(frozen=True, slots=True)
class Shared:
    """Nodes that are needed more than once in one rectangle, and the blocks of those that are there already."""

    keys: Mapping[int, int]
    region: Region | None
    blocks: dict[int, Block] = field(default_factory=dict)

    def has(self, node: Node, region: Region) -> bool:
        """Whether others need the same rectangle of a node."""
        return region == self.region and id(node) in self.keys
