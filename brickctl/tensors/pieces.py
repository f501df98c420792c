"""Cut the work of one shard into pieces: blocks to compute and stretches to copy, in the order of their bytes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from brickctl.core.graph import statistics
from brickctl.core.nodes import Node, Output, Statistic, Stored, blocks_of
from brickctl.tensors.spans import elements_of_block, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.plan import Shard
    from brickctl.core.regions import Region

STRETCH = 4 << 20
"""Bytes that are copied and hashed at once."""

_AHEAD = 1 << 27
"""Elements between the statistics that are begun and the blocks that are made.

Each is made by one worker: the others have smaller ones to make while it is at the largest tensor.
"""

_BUNDLES_AHEAD = 2
"""Matrices of one tensor that are begun before the blocks that ask for them, where several are made at once."""


@dataclass(frozen=True, slots=True)
class Compute:
    """Blocks of the tensor `name` that have to be computed; the bytes of each follow those of the one before."""

    name: str
    node: Node
    regions: tuple[Region, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Statistics and bundles that later blocks, of the tensor `root`, will ask for; they have no bytes in the file."""

    root: Node
    nodes: tuple[Statistic | Output, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of one source file that go into the shard as they are: one tensor or many, or a part of one."""

    blob: Sha256
    source_offset: int
    offset: int
    size: int


Piece = Compute | Stretch


@dataclass(frozen=True, slots=True)
class Target:
    """The file that pieces go into: where it lies, and its open descriptor in the process that made it."""

    path: Path
    descriptor: int


def pieces(shard: Shard, blocks_at_once: int = 1) -> Iterator[Piece | Prepare]:
    """All pieces behind the header, in file order; neighbours in the source are copied as one.

    The statistics of a tensor come some tensors before its blocks: each is made by one thread, and several at once.
    """
    waiting: Stretch | None = None
    offset = len(shard.header)
    ahead = zip(_statistics_ahead(shard), _bundles_ahead(shard), strict=True)
    for name, node in shard.tensors:
        yield from chain(*next(ahead))
        if isinstance(node, Stored):
            stretch = Stretch(node.blob, node.offset, offset, node.spec.bytes)
            if waiting is not None and _continues(waiting, stretch):
                stretch = Stretch(waiting.blob, waiting.source_offset, waiting.offset, waiting.size + stretch.size)
            elif waiting is not None:
                yield from _cut(waiting)
            waiting = stretch
        else:
            if waiting is not None:
                yield from _cut(waiting)
            waiting = None
            yield from _computed(name, node, offset, blocks_at_once)
        offset += node.spec.bytes
    if waiting is not None:
        yield from _cut(waiting)


def _statistics_ahead(shard: Shard) -> Iterator[tuple[Prepare, ...]]:
    """For each tensor the statistics that have to be begun before its own blocks."""
    waiting = deque(shard.tensors)
    ahead = 0
    for _, current in shard.tensors:
        begun = []
        while waiting and (ahead < _AHEAD or waiting[0][1] is current):
            _, node = waiting.popleft()
            ahead += node.spec.elements
            needed = statistics(node)
            if needed:
                begun.append(Prepare(node, needed))
        ahead -= current.spec.elements
        yield tuple(begun)


def _bundles_ahead(shard: Shard) -> Iterator[tuple[Prepare, ...]]:
    """For each tensor the bundles that have to be begun before its own blocks: no more than are kept until then."""
    firsts = (
        (at, tuple(one for block, one in in_order(node) if block == 0)) for at, (_, node) in enumerate(shard.tensors)
    )
    waiting, begun = deque((at, first) for at, first in firsts if first), deque[int]()
    for number in range(len(shard.tensors)):
        while begun and begun[0] < number:
            begun.popleft()
        now = []
        while waiting and len(begun) <= _BUNDLES_AHEAD:
            at, first = waiting.popleft()
            begun.append(at)
            now.append(Prepare(shard.tensors[at][1], first))
        yield tuple(now)


def _continues(first: Stretch, second: Stretch) -> bool:
    return first.blob == second.blob and first.source_offset + first.size == second.source_offset


def _cut(stretch: Stretch) -> Iterator[Stretch]:
    for start in range(0, stretch.size, STRETCH):
        size = min(STRETCH, stretch.size - start)
        yield Stretch(stretch.blob, stretch.source_offset + start, stretch.offset + start, size)


def _computed(name: str, node: Node, offset: int, blocks_at_once: int) -> Iterator[Compute | Prepare]:
    regions, later = blocks_of(node), _Later(node)
    while some := tuple(islice(regions, blocks_at_once)):
        size = sum(region.elements for region in some) * node.spec.dtype.itemsize
        yield from later.than(some[-1])
        yield Compute(name, node, some, offset, size)
        offset += size


class _Later:
    """The bundles that only later blocks of a tensor ask for, as one of many matrices has: a few are begun ahead."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._size = elements_of_block(root)
        self._waiting = deque((block, one) for block, one in in_order(root) if block > 0)
        self._ahead = deque[int]()

    def than(self, region: Region) -> Iterator[Prepare]:
        """Those to begin together with a block."""
        block = (region.top * self._root.spec.columns + region.left) // self._size
        while self._ahead and self._ahead[0] <= block:
            self._ahead.popleft()
        while self._waiting and len(self._ahead) < _BUNDLES_AHEAD:
            first, one = self._waiting.popleft()
            self._ahead.append(first)
            yield Prepare(self._root, (one,))
