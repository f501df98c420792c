"""Pull one block of a node: read what is stored, run kernels in reused buffers."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from brickctl.core.nodes import Map, Node, Op, Region, Statistic, Stored, blocks, key, needs_whole_rows
from brickctl.tensors.kernels import find
from brickctl.tensors.memory import strips

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from brickctl.core.digests import Sha256
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.buffers import Buffer, Buffers


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of a node: the matrix (rows, columns) and the buffer that holds it."""

    matrix: Tensor
    buffer: Buffer

    def content(self, size: int) -> memoryview:
        """The first `size` bytes: what a file gets."""
        return self.buffer.bytes(size)


class Statistics:
    """Results of statistics, each computed once, by the first thread that asks; the others wait for it."""

    def __init__(self) -> None:
        self._results: dict[Sha256, Block] = {}
        self._guard = threading.RLock()

    def get(self, node: Statistic, evaluator: Evaluator) -> Block:
        """The whole result of a statistic."""
        name = key(node)
        with self._guard:
            if name not in self._results:
                self._results[name] = evaluator.accumulate(node)
            return self._results[name]


class Evaluator:
    """One thread's worker. Blocks that it hands out belong to the caller until `give_back`.

    `room` bounds, in bytes, each part that it keeps for the blocks that follow.
    """

    def __init__(self, blobs: Blobs, buffers: Buffers, statistics: Statistics, room: int) -> None:
        self._room = room
        self._blobs = blobs
        self._buffers = buffers
        self._statistics = statistics
        self._kept: dict[int, tuple[Node, Region, Block]] = {}

    def evaluate(self, node: Node, region: Region) -> Block:
        """Make one rectangle of a node."""
        if isinstance(node, Stored):
            return self._read(node, region)
        if isinstance(node, Statistic):
            whole = self._statistics.get(node, self)
            part = whole.matrix[region.top : region.bottom, region.left : region.right]
            block = self._take(node, region)
            block.matrix.copy_(part)
            return block
        return self._map(node, region)

    def accumulate(self, node: Statistic) -> Block:
        """Visit every block of the inputs in order and sum up."""
        whole = self._take(node, Region(0, node.spec.rows, 0, node.spec.columns))
        whole.matrix.zero_()
        run = find(node.op).run
        for region in blocks(node.inputs[0].spec, whole_rows=any(map(needs_whole_rows, node.inputs))):
            parts = [self.evaluate(entry, region) for entry in node.inputs]
            run([part.matrix for part in parts], whole.matrix, _arguments(node.op), region)
            for part in parts:
                self.give_back(part)
        return whole

    def give_back(self, block: Block) -> None:
        """Let the buffer of a block be used again."""
        self._buffers.give_back(block.buffer)

    def forget(self) -> None:
        """Give back what was kept for the blocks of one tensor; call it before the next tensor."""
        for _, _, block in self._kept.values():
            self.give_back(block)
        self._kept.clear()

    def _map(self, node: Map, region: Region) -> Block:
        parts = strips(node, region, self._room)
        if len(parts) == 1:
            return self._apply(node, region)
        whole = self._take(node, region)
        for part in parts:
            strip = self._apply(node, part)
            whole.matrix[:, part.left - region.left : part.right - region.left].copy_(strip.matrix)
            self.give_back(strip)
        return whole

    def _apply(self, node: Map, region: Region) -> Block:
        """Make the inputs and run the kernel."""
        moving: list[Block] = []
        matrices: list[Tensor] = []
        for entry in node.inputs:
            part = entry.access.region(region, entry.node.spec)
            if entry.access.stays:
                matrices.append(self._keep(entry.node, part).matrix)
            else:
                moving.append(self.evaluate(entry.node, part))
                matrices.append(moving[-1].matrix)
        out = self._take(node, region)
        find(node.op).run(matrices, out.matrix, _arguments(node.op), region)
        for block in moving:
            self.give_back(block)
        return out

    def _keep(self, node: Node, region: Region) -> Block:
        """Evaluate once what the next blocks of the same tensor will ask for again; what only that took is let go."""
        kept = self._kept.get(id(node))
        if kept is not None and kept[1] == region:
            return kept[2]
        if kept is not None:
            self.give_back(self._kept.pop(id(node))[2])
        before = frozenset(self._kept)
        block = self.evaluate(node, region)
        for other in self._kept.keys() - before:
            self.give_back(self._kept.pop(other)[2])
        self._kept[id(node)] = (node, region, block)
        return block

    def _read(self, node: Stored, region: Region) -> Block:
        block = self._take(node, region)
        self._blobs.read_region(node, region, block.content(region.elements * node.spec.dtype.itemsize))
        return block

    def _take(self, node: Node, region: Region) -> Block:
        dtype = node.spec.dtype
        buffer = self._buffers.take(region.elements * dtype.itemsize)
        return Block(buffer.matrix(dtype, *region.shape), buffer)


@lru_cache(maxsize=1024)
def _arguments(op: Op) -> Mapping[str, Any]:
    """The parameters of an op, read from their JSON once and not for every block."""
    return op.arguments()
