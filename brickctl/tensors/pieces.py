"""Cut the work of one shard into pieces: blocks to compute and stretches to copy, in the order of their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from brickctl.core.nodes import Node, Output, Region, Statistic, Stored, blocks_of, outputs, statistics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.digests import Sha256
    from brickctl.core.plan import Shard

STRETCH = 4 << 20
"""Bytes that are copied and hashed at once."""

_AHEAD = 2
"""Tensors between the statistics that are begun and the blocks that are made."""


@dataclass(frozen=True, slots=True)
class Compute:
    """A block of the tensor `name` that has to be computed; its bytes are contiguous in the file."""

    name: str
    node: Node
    region: Region
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """A statistic, or a bundle, that blocks of a later tensor will ask for; it has no bytes in the file."""

    node: Statistic | Output


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of one source file that go into the shard as they are: one tensor or many, or a part of one."""

    blob: Sha256
    source_offset: int
    offset: int
    size: int


Piece = Compute | Stretch


def pieces(shard: Shard) -> Iterator[Piece | Prepare]:
    """All pieces behind the header, in file order; neighbours in the source are copied as one.

    The statistics of a tensor come some tensors before its blocks: each is made by one thread, and several at once.
    """
    waiting: Stretch | None = None
    offset = len(shard.header)
    ahead = _statistics_ahead(shard)
    for name, node in shard.tensors:
        yield from next(ahead)
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
            yield from _computed(name, node, offset)
        offset += node.spec.bytes
    if waiting is not None:
        yield from _cut(waiting)


def _statistics_ahead(shard: Shard) -> Iterator[tuple[Prepare, ...]]:
    """For each tensor the statistics that have to be begun before its own blocks."""
    needed = [(*map(Prepare, statistics(node)), *map(Prepare, outputs(node))) for _, node in shard.tensors]
    yield tuple(chain.from_iterable(needed[: _AHEAD + 1]))
    for number in range(1, len(needed)):
        yield needed[number + _AHEAD] if number + _AHEAD < len(needed) else ()


def _continues(first: Stretch, second: Stretch) -> bool:
    return first.blob == second.blob and first.source_offset + first.size == second.source_offset


def _cut(stretch: Stretch) -> Iterator[Stretch]:
    for start in range(0, stretch.size, STRETCH):
        size = min(STRETCH, stretch.size - start)
        yield Stretch(stretch.blob, stretch.source_offset + start, stretch.offset + start, size)


def _computed(name: str, node: Node, offset: int) -> Iterator[Compute]:
    for region in blocks_of(node):
        size = region.elements * node.spec.dtype.itemsize
        yield Compute(name, node, region, offset, size)
        offset += size
